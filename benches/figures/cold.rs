//! Many organizations on one node, few of them in use: what the others cost, and the first request to one.

use std::time::Instant;

use super::startup::{again, create};
use crate::{
    http::Client,
    options::Options,
    process::{descriptors, resident_mib},
    product::Product,
    report::{Report, Row},
};

const ACTIVE: usize = 200;

pub async fn measure(options: &Options, report: &mut Report) {
    let count = options.pick(300, 10_000);
    let product = Product::start(options, 1).await;
    let ids = create(&product, "cold", count).await;
    let (stopped, product) = again(options, product, true).await;
    let (killed, product) = again(options, product, false).await;
    let (before_mib, before_open) = cost(&product);
    let mut first_ms = touch(&product, &ids).await;
    let (after_mib, after_open) = cost(&product);
    product.stop().await;
    first_ms.sort_by(f64::total_cmp);
    let (p50, p99) = (first_ms[first_ms.len() / 2], first_ms[first_ms.len() * 99 / 100]);
    let longest_start = stopped.max(killed).as_secs_f64();
    let met = p99 <= 10.0 && after_mib <= 300.0 && after_open <= 1000.0 && longest_start <= 3.0;
    report.add(Row {
        figure: "cold organizations",
        of: format!("1 node, {count} organizations, {} in use", first_ms.len()),
        values: vec![
            ("start_after_a_stop_s", stopped.as_secs_f64()),
            ("start_after_a_kill_s", killed.as_secs_f64()),
            ("resident_mib", before_mib),
            ("descriptors", before_open),
            ("resident_in_use_mib", after_mib),
            ("descriptors_in_use", after_open),
            ("first_request_p50_ms", p50),
            ("first_request_p99_ms", p99),
        ],
        aim: Some(("<= 300 MiB, 1000 descriptors, 3 s, 10 ms".to_owned(), met)),
    });
}

/// Memory and open files of the node.
fn cost(product: &Product) -> (f64, f64) {
    let pid = product.pid(0).expect("a running node");
    (resident_mib(pid).expect("its memory"), descriptors(pid) as f64)
}

/// One write to each of some organizations that lie far apart: the time of each.
async fn touch(product: &Product, ids: &[String]) -> Vec<f64> {
    let token = product.platform().await;
    let mut client = Client::open(product.addresses[0]).await.expect("a connection");
    let mut took = Vec::new();
    for id in ids.iter().step_by((ids.len() / ACTIVE).max(1)).take(ACTIVE) {
        let request = crate::product::increment(id, &token);
        let begun = Instant::now();
        let status = client.exchange(&request).await.expect("an answer");
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(status, 200, "the first request to {id}");
    }
    took
}
