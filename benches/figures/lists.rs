//! Pages of a list over a million records, for users whom rules let see some of them.

use std::{path::Path, time::Instant};

use serde_json::{Value, json};

use super::records::{self, Dice};
use crate::{
    http::{self, Client},
    load::{self, Seen, Target},
    options::Options,
    product::{Member, Product},
    report::{Report, Row},
};

const SLUG: &str = "lists";
const PAGE: &str = "limit=50";
/// What is measured: a word for it, what it is narrowed to, and whether pages begin anywhere.
const LISTS: &[(&str, &str, bool)] = &[
    ("first page", "", false),
    ("pages anywhere", "", true),
    ("a rare filter, first page", "&priority=critical&classification=internal&status=open", false),
    ("a rare filter, anywhere", "&priority=critical&classification=internal&status=open", true),
    ("a common word, anywhere", "&q=word0", true),
    ("a rare word, first page", "&q=word4500", false),
    ("two common words, anywhere", "&q=word1%20word2", true),
    ("a tag, anywhere", "&tag=tag%207", true),
];
/// Users, the share of a million that each may see, and the condition under which it may not.
const RULED: &[(&str, &str)] = &[
    ("ann", "denied 10 % of the rows"),
    ("ben", "denied 90 % of the rows, which no index finds"),
    ("cleo", "denied all but its own, assigned and shared"),
];

pub async fn measure(options: &Options, report: &mut Report) {
    let count = u64::from(options.count(20_000, 1_000_000));
    let product = Product::start(options, 1).await;
    let organization = product.organization(SLUG).await;
    let mut members = Vec::new();
    for ((name, _), condition) in RULED.iter().zip(conditions()) {
        let member = product.member(&organization, SLUG, name, "analyst").await;
        let denial = json!({
            "effect": "deny", "subject": format!("user:{}", member.id), "permissions": ["read:investigation"],
            "condition": condition,
        });
        let request = organization.request("POST", "/grants", &[], denial.to_string().as_bytes());
        let answer = http::once(product.addresses[0], &request, load::PATIENCE).await.expect("an answer");
        assert_eq!(answer.status, 201, "deny: {}", answer.text());
        members.push(member);
    }
    let folder = product.leave(true).await;
    let begun = Instant::now();
    let own: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
    records::fill(folder.path(), &organization.id, &own, count);
    add_filling(report, folder.path(), &organization.id, count, begun);

    let product = Product::resume(options, folder);
    product.ready().await;
    for ((name, rule), member) in RULED.iter().zip(&members) {
        // The token of before the filling may have ended.
        let member = product.again(member, SLUG, name).await;
        for list in LISTS {
            add_pages(options, &product, report, (&member, rule, count), list).await;
        }
    }
    let (first, rule) = (product.again(&members[0], SLUG, RULED[0].0).await, RULED[0].1);
    add_load(options, &product, report, (&first, rule, count)).await;
    product.stop().await;
}

fn conditions() -> [Value; 3] {
    let own =
        json!({ "any": [{ "owner": true }, { "assignee": true }, { "collaborator": ["viewer", "owner"] }] });
    [
        json!({ "field": "classification", "in": ["confidential"] }),
        json!({ "field": "classification", "in": ["restricted", "internal", "public"] }),
        json!({ "not": own }),
    ]
}

fn add_filling(report: &mut Report, data: &Path, organization: &str, count: u64, begun: Instant) {
    let bytes = super::filled::bytes(data, Some(&[organization.to_owned()]));
    report.add(Row {
        figure: "lists, filling",
        of: format!("{count} investigations, written into the file"),
        values: vec![
            ("seconds", begun.elapsed().as_secs_f64()),
            ("file_mib", bytes as f64 / f64::from(1 << 20)),
            ("bytes_a_record", bytes as f64 / count as f64),
        ],
        aim: None,
    });
}

async fn add_pages(
    options: &Options,
    product: &Product,
    report: &mut Report,
    (member, rule, count): (&Member, &str, u64),
    (what, narrowed, anywhere): &(&str, &str, bool),
) {
    let mut client = Client::open(product.addresses[0]).await.expect("a connection");
    let mut dice = Dice(0x5EED_0044);
    let (mut took_ms, mut rows, mut short, mut empty) = (Vec::new(), 0, 0.0, 0.0);
    let pages = options.pick(20, 400);
    for _ in 0..pages {
        let cursor = if *anywhere { cursor(&mut dice, count) } else { String::new() };
        let path = format!("/investigations?{PAGE}{narrowed}{cursor}");
        let request = member.at.request("GET", &path, &[], b"");
        let begun = Instant::now();
        let answer = client.ask(&request).await.expect("an answer");
        took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let page = answer.json();
        let shown = page["data"].as_array().expect("rows").len();
        rows += shown;
        let goes_on = !page["next_cursor"].is_null();
        short += f64::from(shown < 50 && goes_on);
        empty += f64::from(shown == 0 && goes_on);
    }
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms[((took_ms.len() - 1) as f64 * share) as usize];
    let p99_ms = at(0.99);
    report.add(Row {
        figure: "lists",
        of: format!("{count} rows, {rule}: {what}"),
        values: vec![
            ("p50_ms", at(0.5)),
            ("p99_ms", p99_ms),
            ("rows_a_page", rows as f64 / f64::from(pages)),
            ("short_pages", short / f64::from(pages)),
            ("empty_pages", empty / f64::from(pages)),
        ],
        aim: Some(("p99 <= 20 ms".to_owned(), p99_ms <= 20.0)),
    });
}

/// Somewhere among the rows.
fn cursor(dice: &mut Dice, count: u64) -> String {
    let number = dice.below(count);
    let id = records::id_of(number, dice);
    format!("&cursor={}", threatflow::kernel::to_hex(id.as_bytes()))
}

async fn add_load(
    options: &Options,
    product: &Product,
    report: &mut Report,
    (member, rule, count): (&Member, &str, u64),
) {
    const CLIENTS: usize = 16;
    let mut dice = Dice(0x5EED_0055);
    let targets = (0..CLIENTS).map(|_| {
        let path = format!("/investigations?{PAGE}{}", cursor(&mut dice, count));
        Target { address: product.addresses[0], request: member.at.request("GET", &path, &[], b"").into() }
    });
    let targets: Vec<Target> = targets.collect();
    let mut seen = Seen::default();
    for _ in 0..options.rounds() {
        seen.merge(load::round(&targets, CLIENTS, options.round()).await);
    }
    assert_eq!(seen.failed, 0, "every page is answered");
    report.add(Row {
        figure: "lists, many at a time",
        of: format!("{count} rows, {rule}: {CLIENTS} clients, a page each, again and again"),
        values: vec![
            ("pages_per_second", seen.per_second()),
            ("p50_ms", seen.quantile_ms(0.5)),
            ("p99_ms", seen.quantile_ms(0.99)),
        ],
        aim: None,
    });
}
