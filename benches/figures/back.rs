//! One organization back to a moment in a running cluster, and what its neighbours feel of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use super::{
    filled, nodes,
    restore::{LARGE_KIB, fill, increment},
};
use crate::{
    bucket::Bucket,
    http::Client,
    options::Options,
    product::Product,
    report::{Report, Row},
};

const MIB: f64 = 1024.0 * 1024.0;
const RESTORES: &str = "/api/v2/cluster/backup/restores";
/// Between two writes of the neighbour.
const PACE: Duration = Duration::from_millis(5);
const WITHIN: Duration = Duration::from_mins(5);

pub async fn measure(options: &Options, report: &mut Report) {
    let product = Product::start(options, 3).await;
    let neighbour = product.organization("neighbour").await;
    let large = product.organization("large").await;
    for turn in 0..options.pick(1, 3) {
        fill(&product, &large, turn, options.pick(256, LARGE_KIB)).await;
    }
    let mut bucket = Bucket::folder();
    bucket.begin(&product).await;
    let middle = increment(&product, &large).await;
    let last = increment(&product, &large).await;
    bucket.holds(&product, last, false).await;
    let bytes = filled::bytes(&product.data(0), Some(std::slice::from_ref(&large.id))) as f64;

    let platform = product.platform().await;
    let done = Arc::new(AtomicBool::new(false));
    let address = product.addresses[0];
    let writing = tokio::spawn(pauses(address, neighbour.increment(), Arc::clone(&done)));
    let begun = Instant::now();
    let asked = json!({ "organization": large.id, "index": middle });
    let asked = product.ask(0, ("POST", RESTORES), &platform, Some(&asked)).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let path = format!("{RESTORES}/{}", asked.json()["id"].as_str().expect("an id"));
    let over = loop {
        let now = product.ask(0, ("GET", &path), &platform, None).await.json();
        if now["state"] != "wanted" {
            break now;
        }
        assert!(begun.elapsed() < WITHIN, "the restore is not over: {now}");
        sleep(Duration::from_millis(20)).await;
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(over["state"], "done", "{over}");
    done.store(true, Ordering::Relaxed);
    let (longest, writes) = writing.await.expect("the neighbour");
    // Use that other services report stays; whoever was logged in is not any more.
    let status =
        product.ask(0, ("GET", &format!("/api/v2/organizations/{}", large.id)), &large.token, None).await;
    assert_eq!(status.status, 401, "its sessions have ended");
    product.stop().await;
    report.add(Row {
        figure: "restore of one organization in place",
        of: format!("{}, a neighbour writes every 5 ms", nodes(3)),
        values: vec![
            ("file_mib", bytes / MIB),
            ("restored_s", seconds),
            ("neighbour_writes", writes as f64),
            ("neighbour_longest_ms", longest.as_secs_f64() * 1_000.0),
        ],
        aim: Some(("<= 5 s".to_owned(), seconds <= 5.0)),
    });
}

/// Writes until it is told to stop: the longest time that one took, and how many there were.
async fn pauses(address: std::net::SocketAddr, request: Vec<u8>, done: Arc<AtomicBool>) -> (Duration, u64) {
    let mut client = Client::open(address).await.expect("a connection");
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while !done.load(Ordering::Relaxed) {
        let sent = Instant::now();
        assert_eq!(client.exchange(&request).await.expect("an answer"), 200, "a neighbour's write");
        longest = longest.max(sent.elapsed());
        count += 1;
        sleep(PACE).await;
    }
    (longest, count)
}
