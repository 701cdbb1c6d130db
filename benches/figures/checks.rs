//! Questions "may I?" over HTTP: one a request and a hundred, by a built-in role and beside grants and denials with conditions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    http,
    load::{self, Seen, Target},
    options::Options,
    product::{Member, Product},
    report::{Report, Row},
};

/// Questions of one request, at most.
const MANY: usize = 100;
const PATH: &str = "/access/check";

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let plain = product.organization("checks-plain").await;
    let ruled = product.organization("checks-ruled").await;
    let [by_role, by_rules] = [
        product.member(&plain, "checks-plain", "ann", "senior_analyst").await,
        product.member(&ruled, "checks-ruled", "ann", "senior_analyst").await,
    ];
    for number in 0..16 {
        let body = grant(number, &by_rules).to_string();
        let grant = ruled.request("POST", "/grants", &[], body.as_bytes());
        let answer = http::once(product.addresses[0], &grant, load::PATIENCE).await.expect("an answer");
        assert_eq!(answer.status, 201, "grant: {}", answer.text());
    }
    let one = question(&by_role);
    for clients in [1, 16, 64] {
        let of = format!("1 node, one a request, built-in role, {clients} clients");
        add(options, product, report, (of, &by_role, &one, clients, 1)).await;
    }
    let (one, many) = (question(&by_rules), vec![question(&by_rules); MANY]);
    for clients in [1, 16] {
        let of = format!("1 node, one a request, 8 grants and 8 denials with conditions, {clients} clients");
        add(options, product, report, (of, &by_rules, &one, clients, 1)).await;
    }
    let of = format!("1 node, {MANY} a request, 8 grants and 8 denials with conditions, 4 clients");
    add(options, product, report, (of, &by_rules, &json!({ "checks": many }), 4, MANY)).await;
}

/// Rules that are looked at, and none of which decides.
fn grant(number: usize, asker: &Member) -> Value {
    json!({
        "effect": if number.is_multiple_of(2) { "allow" } else { "deny" }, "subject": format!("user:{}", asker.id),
        "permissions": ["*:investigation"],
        "condition": { "all": [{ "field": "tlp", "in": ["red", "amber"] }, { "owner": true }] },
    })
}

/// About a thing of the asker's own.
fn question(asker: &Member) -> Value {
    json!({
        "permission": "update:investigation",
        "resource": { "id": "i1", "owner": asker.id, "fields": { "tlp": "green", "severity": "high" } },
    })
}

async fn add(
    options: &Options,
    product: &Product,
    report: &mut Report,
    (of, asker, body, clients, questions): (String, &Member, &Value, usize, usize),
) {
    let request: Arc<[u8]> = asker.at.request("POST", PATH, &[], body.to_string().as_bytes()).into();
    let answer = http::once(product.addresses[0], &request, load::PATIENCE).await.expect("an answer").json();
    let verdicts = if questions > 1 { answer["results"].clone() } else { json!([answer]) };
    let verdicts = verdicts.as_array().expect("answers");
    assert!(verdicts.len() == questions && verdicts.iter().all(|one| one["allowed"] == true), "{answer}");

    let target = [Target { address: product.addresses[0], request }];
    let (mut seen, used) = (Seen::default(), product.processor_us());
    for _ in 0..options.rounds() {
        seen.merge(load::round(&target, clients, options.round()).await);
    }
    let used_us = (product.processor_us() - used) / seen.answered as f64;
    assert_eq!(seen.failed, 0, "every question is answered");
    let (per_second, p99_ms) = (seen.per_second() * questions as f64, seen.quantile_ms(0.99));
    let aim = (clients == 16).then(|| {
        (">= 8,000/s and p99 <= 3 ms on two cores".to_owned(), per_second >= 8_000.0 && p99_ms <= 3.0)
    });
    let values = vec![
        ("checks_per_second", per_second),
        ("p50_ms", seen.quantile_ms(0.5)),
        ("p99_ms", p99_ms),
        ("node_us_a_request", used_us),
    ];
    report.add(Row { figure: "access checks", of, values, aim });
}
