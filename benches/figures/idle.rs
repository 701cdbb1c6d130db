//! Resident memory of each node some time after start.

use std::time::Duration;

use super::nodes;
use crate::{
    options::Options,
    process::resident_mib,
    product::Product,
    report::{Report, Row},
};

const AIM_MIB: f64 = 60.0;

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let after = options.pick(Duration::from_secs(3), Duration::from_secs(30));
    tokio::time::sleep(after).await;
    let all =
        (0..product.nodes()).map(|node| product.pid(node).and_then(resident_mib).expect("a running node"));
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(one), most.max(one)));
    report.add(Row {
        figure: "idle memory",
        of: format!("{}, {} s after start", nodes(product.nodes()), after.as_secs()),
        values: vec![("least_mib", least), ("most_mib", most)],
        aim: Some((format!("<= {AIM_MIB} MiB"), most <= AIM_MIB)),
    });
}
