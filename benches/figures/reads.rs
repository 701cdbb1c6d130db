//! Reads from a node's own state: a computed view, and one object of an import.

use std::sync::Arc;

use super::nodes;
use crate::{
    load::{self, Seen, Target},
    options::Options,
    product::Product,
    report::{Report, Row},
};

const CLIENTS: [usize; 2] = [1, 64];
const STALE: (&str, &str) = ("x-consistency", "stale");
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
        let request: Arc<[u8]> = organization.request("GET", path, &[STALE], b"").into();
        let target =
            |address: &std::net::SocketAddr| Target { address: *address, request: Arc::clone(&request) };
        let targets: Vec<Target> = product.addresses.iter().map(target).collect();
        for clients in CLIENTS {
            let mut seen = Seen::default();
            for _ in 0..options.rounds() {
                seen.merge(load::round(&targets, clients, options.round()).await);
            }
            let values = vec![
                ("per_second", seen.per_second()),
                ("p50_ms", seen.quantile_ms(0.5)),
                ("p99_ms", seen.quantile_ms(0.99)),
                ("failed", seen.failed as f64),
            ];
            let of = format!("{}, {name}, {clients} clients", nodes(product.nodes()));
            report.add(Row { figure: "local reads", of, values, aim: None });
        }
    }
}
