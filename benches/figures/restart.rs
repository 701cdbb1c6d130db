//! From exec to ready with organizations that hold something, after an orderly stop and after a kill.

use super::{filled, startup::again};
use crate::{
    options::Options,
    product::Product,
    report::{Report, Row},
};

const MIB: f64 = 1024.0 * 1024.0;

pub async fn measure(options: &Options, report: &mut Report) {
    let (count, kib) = (options.count(20, 1_000), options.kib(64, 1_024));
    let product = Product::start(options, 1).await;
    filled::make(&product, "restart", count, kib).await;
    let (stopped, product) = again(options, product, true).await;
    let (killed, product) = again(options, product, false).await;
    let bytes = filled::bytes(&product.data(0), None);
    product.stop().await;
    report.add(Row {
        figure: "restart",
        of: format!("1 node, {count} organizations, {kib} KiB imported into each"),
        values: vec![
            ("files_mib", bytes as f64 / MIB),
            ("after_a_stop_s", stopped.as_secs_f64()),
            ("after_a_kill_s", killed.as_secs_f64()),
        ],
        aim: Some(("<= 3 s (asked for 10 GB)".to_owned(), stopped.max(killed).as_secs_f64() <= 3.0)),
    });
}
