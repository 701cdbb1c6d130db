//! From kill -9 of the leader to the next acknowledged write at another node.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::nodes;
use crate::{
    http::Client,
    options::Options,
    process::{signal, wait_for},
    product::Product,
    report::{Report, Row},
};

/// A round that takes longer failed.
const WITHIN: Duration = Duration::from_secs(30);
/// The demo starts a node again five seconds after it died.
const RESPAWN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Kills made in the name of one organization, whose administrator's token lives for ten minutes.
const TOKEN_FOR: usize = 20;
/// No further kill is begun after it.
const AT_MOST: Duration = Duration::from_mins(15);

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let begun = Instant::now();
    let mut taken = Vec::new();
    let mut write = Vec::new();
    for round in 0..options.pick(3, 50) {
        if begun.elapsed() > AT_MOST {
            break;
        }
        product.ready().await;
        if round % TOKEN_FOR == 0 {
            write = product.organization(&format!("failover-{round}")).await.increment();
        }
        taken.push(one(product, &write).await.as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    let quantile = |share: f64| taken[((taken.len() - 1) as f64 * share).round() as usize];
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    report.add(Row {
        figure: "failover",
        of: format!("{}, {} kills of the leader with -9", nodes(product.nodes()), taken.len()),
        values: vec![("min_s", taken[0]), ("p50_s", p50), ("p99_s", p99), ("max_s", quantile(1.0))],
        aim: Some(("p50 <= 0.7 s, p99 <= 1.5 s".to_owned(), p50 <= 0.7 && p99 <= 1.5)),
    });
}

async fn one(product: &Product, write: &[u8]) -> Duration {
    let leader = product.leader().await;
    let survivor = product.addresses[(leader + 1) % product.nodes()];
    let mut client = Client::open(survivor).await.expect("a connection");
    assert_eq!(client.exchange(write).await.expect("an answer"), 200, "a write before the failure");
    let pid = product.pid(leader).expect("the leader runs");
    let killed = Instant::now();
    signal("-9", pid);
    timeout(WITHIN, acknowledged(client, survivor, write)).await.expect("a write after the failure");
    let took = killed.elapsed();
    let dead = product.addresses[leader];
    wait_for("the demo to start the node again", RESPAWN, async || {
        product.pid(leader).is_some_and(|now| now != pid) && Client::open(dead).await.is_ok()
    })
    .await;
    took
}

/// Writes until one is acknowledged.
async fn acknowledged(mut client: Client, address: SocketAddr, write: &[u8]) {
    loop {
        match client.exchange(write).await {
            Ok(200) => return,
            Ok(_) => {}
            Err(_) => client = Client::open(address).await.expect("a connection to a node that lives"),
        }
        sleep(PAUSE).await;
    }
}
