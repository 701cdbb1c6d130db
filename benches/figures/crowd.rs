//! As many clients as organizations, each writing to its own.

use std::sync::Arc;

use super::{nodes, startup::create};
use crate::{
    load::{self, Seen, Target},
    options::Options,
    product::{self, Product},
    report::{Report, Row},
};

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let count: u32 = options.pick(100, 1000);
    let ids = create(product, "crowd", count).await;
    let token = product.platform().await;
    let leader = product.leader().await;
    let target = |id: &String| Target {
        address: product.addresses[leader],
        request: Arc::from(product::increment(id, &token)),
    };
    let targets: Vec<Target> = ids.iter().map(target).collect();
    let (mut seen, mut processor_us) = (Seen::default(), 0.0);
    for _ in 0..options.rounds() {
        let before = product.processor_us();
        seen.merge(load::round(&targets, targets.len(), options.round()).await);
        processor_us += product.processor_us() - before;
    }
    let rate = seen.per_second();
    report.add(Row {
        figure: "a crowd",
        of: format!("{}, {count} clients over as many organizations", nodes(product.nodes())),
        values: vec![
            ("per_second", rate),
            ("p50_ms", seen.quantile_ms(0.5)),
            ("p99_ms", seen.quantile_ms(0.99)),
            ("cpu_us_per_write", processor_us / seen.answered as f64),
            ("failed", seen.failed as f64),
        ],
        aim: Some((">= 15000/s".to_owned(), rate >= 15_000.0)),
    });
}
