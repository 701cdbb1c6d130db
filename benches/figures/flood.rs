//! A quiet organization while another floods: its latency alone and beside, in turns.

use std::sync::Arc;

use super::nodes;
use crate::{
    load::{self, Seen, Target},
    options::Options,
    product::{Organization, Product},
    report::{Report, Row},
};

const FLOOD: usize = 256;

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let (quiet, loud) = (product.organization("quiet").await, product.organization("loud").await);
    let leader = product.leader().await;
    let target = |organization: &Organization| {
        vec![Target { address: product.addresses[leader], request: Arc::from(organization.increment()) }]
    };
    let (quiet, loud) = (target(&quiet), target(&loud));
    let (mut alone, mut beside, mut flood) = (Seen::default(), Seen::default(), Seen::default());
    for _ in 0..options.rounds() {
        alone.merge(load::round(&quiet, 1, options.round()).await);
        let both = futures_util::future::join(
            load::round(&quiet, 1, options.round()),
            load::round(&loud, FLOOD, options.round()),
        );
        let (seen, flooding) = both.await;
        beside.merge(seen);
        flood.merge(flooding);
    }
    let (p99_alone, p99_beside) = (alone.quantile_ms(0.99), beside.quantile_ms(0.99));
    report.add(Row {
        figure: "a flood beside",
        of: format!("{}, {FLOOD} clients of another organization", nodes(product.nodes())),
        values: vec![
            ("p50_alone_ms", alone.quantile_ms(0.5)),
            ("p99_alone_ms", p99_alone),
            ("p50_beside_ms", beside.quantile_ms(0.5)),
            ("p99_beside_ms", p99_beside),
            ("p99_ratio", p99_beside / p99_alone),
            ("flood_per_second", flood.per_second()),
            ("flood_p99_ms", flood.quantile_ms(0.99)),
        ],
        aim: Some(("p99 at most doubles".to_owned(), p99_beside <= 2.0 * p99_alone)),
    });
}
