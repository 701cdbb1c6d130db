//! Refreshes a second: each client exchanges its refresh token for the next, again and again.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::nodes;
use crate::{
    http::{self, Client},
    options::Options,
    product::Product,
    report::{Report, Row},
};

/// Fewer than the sessions that one user may have.
const CLIENTS: usize = 32;
const ANSWER: Duration = Duration::from_secs(30);

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    product.organization("tokens").await;
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let address = product.addresses[number % product.nodes()];
        let body = json!({ "email": "admin@tokens.test", "password": "staircase orbit lamp seven", "organization": "tokens" });
        let login = http::request("POST", "/api/v2/auth/login", &[], body.to_string().as_bytes());
        let answer = http::once(address, &login, ANSWER).await.expect("an answer");
        let token = answer.json()["tokens"]["refresh_token"].as_str().expect("a refresh token").to_owned();
        clients.push((Client::open(address).await.expect("a connection"), token));
    }
    let (used, began) = (product.processor_us(), Instant::now());
    let end = began + options.round();
    let mut running = JoinSet::new();
    for (client, token) in clients {
        running.spawn(refresh(client, token, end));
    }
    let mut took: Vec<f64> = running.join_all().await.concat();
    let seconds = began.elapsed().as_secs_f64();
    let used = product.processor_us() - used;
    took.sort_by(f64::total_cmp);
    let count = took.len() as f64;
    let at = |share: f64| took[((count - 1.0) * share) as usize];
    let per_core = 1e6 * count / used;
    let aim = (product.nodes() == 1).then(|| (">= 1,500/s a core".to_owned(), per_core >= 1_500.0));
    report.add(Row {
        figure: "refreshes",
        of: format!("{}, {CLIENTS} clients", nodes(product.nodes())),
        values: vec![
            ("per_second", count / seconds),
            ("per_second_of_processor", per_core),
            ("p50_ms", at(0.5)),
            ("p99_ms", at(0.99)),
        ],
        aim,
    });
}

/// Milliseconds that each exchange took.
async fn refresh(mut client: Client, mut token: String, end: Instant) -> Vec<f64> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let body = json!({ "refresh_token": token }).to_string();
        let request = http::request("POST", "/api/v2/auth/refresh", &[], body.as_bytes());
        let began = Instant::now();
        let answer = client.ask(&request).await.expect("an answer");
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(answer.status, 200, "{}", answer.text());
        token = answer.json()["tokens"]["refresh_token"].as_str().expect("a refresh token").to_owned();
    }
    took
}
