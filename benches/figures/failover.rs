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

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let rounds = options.pick(3, 10);
    let write = product.organization("failover").await.increment();
    let mut taken = Vec::with_capacity(rounds);
    for round in 0..rounds {
        if round > 0 {
            product.ready().await;
        }
        taken.push(one(product, &write).await.as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    let (p50, max) = (taken[rounds / 2], taken[rounds - 1]);
    report.add(Row {
        figure: "failover",
        of: format!("{}, {rounds} rounds of kill -9", nodes(product.nodes())),
        values: vec![("min_s", taken[0]), ("p50_s", p50), ("max_s", max)],
        aim: Some(("p50 <= 0.7 s, max <= 1.5 s".to_owned(), p50 <= 0.7 && max <= 1.5)),
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
