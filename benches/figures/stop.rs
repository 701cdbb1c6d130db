//! From SIGTERM of the leader on: the longest time in which no write at the other nodes is acknowledged.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{spawn, time::sleep};

use super::nodes;
use crate::{
    http::Client,
    options::Options,
    process::{signal, wait_for},
    product::Product,
    report::{Report, Row},
};

/// A node may drain for as long, and the demo starts it again five seconds after it ended.
const RESPAWN: Duration = Duration::from_secs(45);
/// Clients at each of the other nodes.
const CLIENTS: usize = 2;
/// Writes go on for so long before and after the node ended.
const AROUND: Duration = Duration::from_millis(500);

pub async fn measure(options: &Options, product: &Product, report: &mut Report) {
    let rounds = options.pick(2, 10);
    let write = product.organization("stop").await.increment();
    let (mut pauses, mut failed) = (Vec::with_capacity(rounds), 0.0);
    for _ in 0..rounds {
        product.ready().await;
        let (pause, refused) = one(product, &write).await;
        pauses.push(pause.as_secs_f64() * 1000.0);
        failed += f64::from(refused);
    }
    pauses.sort_by(f64::total_cmp);
    let (p50, max) = (pauses[rounds / 2], pauses[rounds - 1]);
    report.add(Row {
        figure: "planned stop",
        of: format!(
            "{}, {rounds} stops of the leader, longest time between acknowledged writes of {} clients at the others",
            nodes(product.nodes()),
            CLIENTS * (product.nodes() - 1)
        ),
        values: vec![("p50_ms", p50), ("max_ms", max), ("failed", failed)],
        aim: Some(("<= 150 ms, 0 failed".to_owned(), max <= 150.0 && failed == 0.0)),
    });
}

async fn one(product: &Product, write: &[u8]) -> (Duration, u32) {
    let leader = product.leader().await;
    let end = Arc::new(AtomicBool::new(false));
    let others = (0..product.nodes()).filter(|node| *node != leader).map(|node| product.addresses[node]);
    let clients: Vec<_> = others
        .flat_map(|address| (0..CLIENTS).map(move |_| address))
        .map(|address| spawn(writes(address, write.to_vec(), Arc::clone(&end))))
        .collect();
    sleep(AROUND).await;
    let pid = product.pid(leader).expect("the leader runs");
    let asked = Instant::now();
    signal("-TERM", pid);
    wait_for("the node to end", RESPAWN, async || product.pid(leader) != Some(pid)).await;
    sleep(AROUND).await;
    end.store(true, Ordering::Relaxed);
    let (mut answered, mut failed) = (vec![asked], 0);
    for client in clients {
        let (at, refused) = client.await.expect("a client");
        answered.extend(at.into_iter().filter(|at| *at > asked));
        failed += refused;
    }
    answered.sort();
    let pause = answered.windows(2).map(|pair| pair[1] - pair[0]).max().expect("writes after the stop");
    wait_for("the demo to start the node again", RESPAWN, async || {
        Client::open(product.addresses[leader]).await.is_ok()
    })
    .await;
    (pause, failed)
}

/// Writes until the end; answers when each was acknowledged, and how many were not.
async fn writes(address: SocketAddr, write: Vec<u8>, end: Arc<AtomicBool>) -> (Vec<Instant>, u32) {
    let (mut answered, mut failed) = (Vec::new(), 0);
    let mut client = Client::open(address).await.expect("a connection");
    while !end.load(Ordering::Relaxed) {
        match client.exchange(&write).await {
            Ok(200) => answered.push(Instant::now()),
            Ok(_) => failed += 1,
            Err(_) => {
                failed += 1;
                client = Client::open(address).await.expect("a connection to a node that lives");
            }
        }
    }
    (answered, failed)
}
