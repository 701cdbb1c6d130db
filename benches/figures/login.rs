//! Logins a second at the cost that passwords are hashed at unless configured, and what each costs beside its hash.
//!
//! Many users log in with their right passwords, so that no login waits for another of its account and none is slowed down
//! as a guess. The hash alone is measured in turns with the logins, as many at a time as there are cores, because two that
//! run side by side take longer than one.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use threatflow::{
    features::identity::{HashCost, hash_password},
    kernel::Secret,
};
use tokio::task::JoinSet;

use crate::{
    http::{self, Client},
    options::Options,
    process::processor_us,
    product::{Organization, Product},
    report::{Report, Row},
};

const ANSWER: Duration = Duration::from_secs(30);
/// Enough that a hash is always waiting for a core.
const CLIENTS: usize = 8;

/// What the turns have shown.
#[derive(Default)]
struct Seen {
    took_ms: Vec<f64>,
    seconds: f64,
    node_us: f64,
    generator_us: f64,
    hashes: f64,
    hashes_us: f64,
}

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let organization = product.organization("login").await;
    let users = options.pick(2, 25) * CLIENTS;
    let requests = users_of(product, &organization, users).await;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut seen = Seen::default();
    for _ in 0..options.rounds() {
        hash_alone(cores, options.pick(4, 40), &mut seen);
        log_in(product, &requests, options.round(), &mut seen).await;
    }
    add(report, users, cores, seen);
}

/// Makes users, and the requests with which each logs in; those of one client are in one list.
async fn users_of(product: &Product, organization: &Organization, users: usize) -> Vec<Vec<Arc<[u8]>>> {
    let mut requests = vec![Vec::new(); CLIENTS];
    for number in 0..users {
        let (email, password) =
            (format!("user-{number}@login.test"), format!("staircase orbit lamp seven {number}"));
        let body = json!({ "email": email, "password": password, "role": "analyst" }).to_string();
        let create = organization.request("POST", "/users", &[], body.as_bytes());
        let answer = http::once(product.addresses[0], &create, ANSWER).await.expect("an answer");
        assert_eq!(answer.status, 201, "create a user: {}", answer.text());
        let body = json!({ "email": email, "password": password, "organization": "login" }).to_string();
        let request = http::request("POST", "/api/v2/auth/login", &[], body.as_bytes());
        requests[number % CLIENTS].push(request.into());
    }
    requests
}

/// As many hashes at a time as the node runs.
fn hash_alone(cores: usize, each: u32, seen: &mut Seen) {
    let password = Secret::new("staircase orbit lamp seven".to_owned());
    let before = processor_us(std::process::id());
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for _ in 0..each {
                    hash_password(&password, HashCost::DEFAULT).expect("a hash");
                }
            });
        }
    });
    seen.hashes_us += processor_us(std::process::id()) - before;
    seen.hashes += cores as f64 * f64::from(each);
}

async fn log_in(product: &Product, requests: &[Vec<Arc<[u8]>>], time: Duration, seen: &mut Seen) {
    let mut open = Vec::with_capacity(CLIENTS);
    for requests in requests {
        open.push((Client::open(product.addresses[0]).await.expect("a connection"), requests.clone()));
    }
    let (node, own) = (product.processor_us(), processor_us(std::process::id()));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for (client, requests) in open {
        running.spawn(drive(client, requests, began + time));
    }
    seen.took_ms.extend(running.join_all().await.concat());
    seen.seconds += began.elapsed().as_secs_f64();
    seen.node_us += product.processor_us() - node;
    seen.generator_us += processor_us(std::process::id()) - own;
}

/// Milliseconds that each login took.
async fn drive(mut client: Client, requests: Vec<Arc<[u8]>>, end: Instant) -> Vec<f64> {
    let mut took = Vec::new();
    for request in requests.iter().cycle() {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let status = client.exchange(request).await.expect("an answer");
        assert_eq!(status, 200, "log in");
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took
}

fn add(report: &mut Report, users: usize, cores: usize, mut seen: Seen) {
    seen.took_ms.sort_by(f64::total_cmp);
    let logins = seen.took_ms.len() as f64;
    let at = |share: f64| seen.took_ms[((logins - 1.0) * share) as usize];
    let per_core = 1e6 * logins / seen.node_us;
    let hash_ms = seen.hashes_us / seen.hashes / 1000.0;
    let beside_ms = seen.node_us / logins / 1000.0 - hash_ms;
    report.add(Row {
        figure: "logins",
        of: format!("1 node, {CLIENTS} clients, {users} users, {logins} logins"),
        values: vec![
            ("per_second", logins / seen.seconds),
            ("per_second_of_processor", per_core),
            ("p50_ms", at(0.5)),
            ("p99_ms", at(0.99)),
        ],
        aim: Some((">= 45/s a core".to_owned(), per_core >= 45.0)),
    });
    report.add(Row {
        figure: "processor time of a login",
        of: format!("1 node, {} hashes alone, {cores} at a time", seen.hashes),
        values: vec![
            ("node_ms", seen.node_us / logins / 1000.0),
            ("hash_ms", hash_ms),
            ("beside_hash_ms", beside_ms),
            ("generator_ms", seen.generator_us / logins / 1000.0),
        ],
        aim: Some(("<= 3 ms beside the hash".to_owned(), beside_ms <= 3.0)),
    });
}
