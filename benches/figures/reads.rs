//! Reads: from a node's own state, and linearizable ones, which ask the leader who asks a majority.

use std::sync::Arc;

use super::nodes;
use crate::{
    load::{self, Seen, Target},
    options::Options,
    product::{Organization, Product},
    report::{Report, Row},
};

const OBJECT: &str = "indicator--00000000-0000-4000-8000-000000000001";

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let organization = product.organization("reads").await;
    let bundle = format!(
        r#"{{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000002","objects":[{{
            "type":"indicator","spec_version":"2.1","id":"{OBJECT}","created":"2026-01-01T00:00:00.000Z",
            "modified":"2026-01-01T00:00:00.000Z","name":"figures","pattern":"[ipv4-addr:value = '192.0.2.1']",
            "pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"}}]}}"#
    );
    let import = organization.request("POST", "/intel/bundles", &[], bundle.as_bytes());
    let answer = crate::http::once(product.addresses[0], &import, std::time::Duration::from_secs(30)).await;
    assert_eq!(answer.expect("an answer").status, 201, "import one object");
    let object = format!("/intel/objects/{OBJECT}");
    for (name, path) in [("stats", "/stats"), ("an object", object.as_str())] {
        for clients in [1, 64] {
            let targets = targets(product, &organization, path, "stale", 0, product.nodes());
            let mut seen = rounds(options, &targets, clients).await;
            let aim = (clients == 1).then(|| ("p50 <= 0.2 ms".to_owned(), seen.quantile_ms(0.5) <= 0.2));
            let of = format!("{}, {name}, {clients} clients", nodes(product.nodes()));
            report.add(Row { figure: "local reads", of, values: values(&mut seen), aim });
        }
    }
    // The leader may change from one to the next, which only shows in the figures.
    let several =
        [("1 client at the leader", 1, 0, 1), ("1 client at a follower", 1, 1, 1), ("64 clients", 64, 0, 3)];
    for (who, clients, first, span) in several {
        if product.nodes() == 1 && first > 0 {
            continue;
        }
        let first = product.leader().await + first;
        let targets = targets(product, &organization, &object, "strong", first, span.min(product.nodes()));
        let mut seen = rounds(options, &targets, clients).await;
        let aim = (clients == 1).then(|| ("p50 <= 1 ms".to_owned(), seen.quantile_ms(0.5) <= 1.0));
        let of = format!("{}, an object, {who}", nodes(product.nodes()));
        report.add(Row { figure: "linearizable reads", of, values: values(&mut seen), aim });
    }
}

fn targets(
    product: &Product,
    organization: &Organization,
    path: &str,
    consistency: &str,
    first: usize,
    span: usize,
) -> Vec<Target> {
    let request: Arc<[u8]> = organization.request("GET", path, &[("x-consistency", consistency)], b"").into();
    let address = |step: usize| product.addresses[(first + step) % product.nodes()];
    (0..span).map(|step| Target { address: address(step), request: Arc::clone(&request) }).collect()
}

async fn rounds(options: &Options, targets: &[Target], clients: usize) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..options.rounds() {
        seen.merge(load::round(targets, clients, options.round()).await);
    }
    seen
}

fn values(seen: &mut Seen) -> Vec<(&'static str, f64)> {
    vec![
        ("per_second", seen.per_second()),
        ("p50_ms", seen.quantile_ms(0.5)),
        ("p99_ms", seen.quantile_ms(0.99)),
        ("failed", seen.failed as f64),
    ]
}
