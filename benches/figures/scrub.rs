//! What it costs to read files through for damage: processor time of a node that does nothing else.

use std::time::{Duration, Instant};

use super::filled;
use crate::{
    options::Options,
    process::{processor_us, wait_for},
    product::Product,
    report::{Report, Row},
};

/// As fast as it can, again and again.
const SETTINGS: [(&str, &str); 2] =
    [("THREATFLOW_SCRUB_CYCLE_MS", "100"), ("THREATFLOW_SCRUB_KIB_PER_S", "16777216")];
/// The pace that is set where nothing else is: 8 MiB a second.
const USUAL_BYTES_PER_S: f64 = (8 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;
const WITHIN: Duration = Duration::from_mins(5);

pub async fn measure(options: &Options, report: &mut Report) {
    let (count, kib) = (options.count(10, 100), options.kib(64, 1_024));
    let product = Product::start_with(options, 1, &SETTINGS).await;
    filled::make(&product, "scrub", count, kib).await;
    let all = filled::bytes(&product.data(0), None) as f64;
    let scrubbed = async || product.metric(0, "threatflow_scrubbed_bytes_total").await.expect("a count");
    let pid = product.pid(0).expect("a running node");
    let (from, cpu_us, begun) = (scrubbed().await, processor_us(pid), Instant::now());
    // At least once through all of it, and long enough for ticks of the clock not to matter.
    let least = options.pick(Duration::from_secs(1), Duration::from_secs(20));
    let done = async || scrubbed().await - from >= all && begun.elapsed() >= least;
    wait_for("a scrub of all files", WITHIN, done).await;
    let (bytes, cpu_us) = (scrubbed().await - from, processor_us(pid) - cpu_us);
    let seconds = begun.elapsed().as_secs_f64();
    product.stop().await;
    let cpu_s_per_gib = cpu_us / 1e6 / (bytes / GIB);
    report.add(Row {
        figure: "scrub",
        of: format!("1 node, {count} organizations, {kib} KiB imported into each"),
        values: vec![
            ("files_mib", all / 1024.0 / 1024.0),
            ("read_gib", bytes / GIB),
            ("gib_per_s", bytes / GIB / seconds),
            ("cpu_s_per_gib", cpu_s_per_gib),
            ("percent_of_a_core_at_8_mib_per_s", 100.0 * cpu_s_per_gib * USUAL_BYTES_PER_S / GIB),
        ],
        aim: None,
    });
}
