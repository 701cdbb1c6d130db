//! Decisions over HTTP: a service asks with its own token what another user may do, in our words and in AuthZEN's.

use std::sync::Arc;

use serde_json::{Value, json};

use super::nodes;
use crate::{
    http,
    load::{self, Seen, Target},
    options::Options,
    product::{Organization, Product},
    report::{Report, Row},
};

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let organization = product.organization("checks").await;
    let user = member(product, &organization).await;
    let check =
        json!({ "permission": "update:note", "user": user, "resource": { "id": "n-1", "owner": user } });
    let check = organization.request("POST", "/access/check", &[], check.to_string().as_bytes());
    let asked = json!({
        "subject": { "type": "user", "id": user }, "action": { "name": "update" },
        "resource": { "type": "note", "id": "n-1", "properties": { "owner": user } },
    });
    let bearer = format!("Bearer {}", organization.token);
    let evaluate = |headers: &[(&str, &str)]| {
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        http::request("POST", "/access/v1/evaluation", &headers, asked.to_string().as_bytes())
    };
    let questions = [
        ("check", check),
        ("AuthZEN", evaluate(&[])),
        ("AuthZEN, stale", evaluate(&[("x-consistency", "stale")])),
    ];
    for (name, question) in questions {
        let request: Arc<[u8]> = question.into();
        let targets: Vec<Target> = product
            .addresses
            .iter()
            .map(|address| Target { address: *address, request: Arc::clone(&request) })
            .collect();
        for clients in [16, 64] {
            let used = product.processor_us();
            let mut seen = Seen::default();
            for _ in 0..options.rounds() {
                seen.merge(load::round(&targets, clients, options.round()).await);
            }
            let used = product.processor_us() - used;
            report.add(row(product, &mut seen, used, (name, clients)));
        }
    }
}

fn row(product: &Product, seen: &mut Seen, used_us: f64, (name, clients): (&str, usize)) -> Row {
    let (rate, p99) = (seen.per_second(), seen.quantile_ms(0.99));
    let aimed = product.nodes() == 1 && clients == 16;
    Row {
        figure: "decisions over HTTP",
        of: format!("{}, {name}, {clients} clients", nodes(product.nodes())),
        values: vec![
            ("per_second", rate),
            ("p50_ms", seen.quantile_ms(0.5)),
            ("p99_ms", p99),
            ("processor_us_each", used_us / seen.answered.max(1) as f64),
            ("failed", seen.failed as f64),
        ],
        aim: aimed.then(|| (">= 8,000/s, p99 <= 3 ms".to_owned(), rate >= 8_000.0 && p99 <= 3.0)),
    }
}

/// The id of an analyst.
async fn member(product: &Product, organization: &Organization) -> String {
    let user =
        json!({ "email": "ana@checks.test", "password": "figures figures figures", "role": "analyst" });
    let create = organization.request("POST", "/users", &[], user.to_string().as_bytes());
    let answer = http::once(product.addresses[0], &create, std::time::Duration::from_secs(30)).await;
    let answer: Value = answer.expect("an answer").json();
    answer["id"].as_str().expect("a user").to_owned()
}
