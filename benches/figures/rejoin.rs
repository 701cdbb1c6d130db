//! What a node receives that was away while some organizations changed and the log was cut.

use std::time::{Duration, Instant};

use super::{filled, nodes};
use crate::{
    http::Client,
    options::Options,
    process::{signal, wait_for},
    product::{self, Product},
    report::{Report, Row},
};

/// No entry stays in the log below a checkpoint, and those come often: the node returns after five seconds.
const SETTINGS: [(&str, &str); 2] =
    [("THREATFLOW_LOG_KEEP_ENTRIES", "0"), ("THREATFLOW_CHECKPOINT_MS", "300")];
const WITHIN: Duration = Duration::from_mins(5);
/// If the node was back before the log was cut it is sent entries, which shows nothing.
const ATTEMPTS: usize = 5;
/// Of the list of all files, which comes first.
const LIST_BYTES_PER_FILE: f64 = 64.0;
const INSTALLED: &str = "threatflow_snapshots_total{direction=\"installed\"}";
const RECEIVED: &str = "threatflow_snapshot_bytes_total{direction=\"received\"}";

pub async fn measure(options: &Options, report: &mut Report) {
    let (count, kib) = (options.count(100, 1_000), options.kib(0, 64));
    let product = Product::start_with(options, 3, &SETTINGS).await;
    let ids = filled::make(&product, "rejoin", count, kib).await;
    let changed = &ids[..ids.len() / 10];
    let mut found = None;
    for _ in 0..ATTEMPTS {
        found = one(&product, changed).await;
        if found.is_some() {
            break;
        }
    }
    let (received, took) = found.expect("the node was back before the log was cut, each time");
    let leader = product.leader().await;
    let (some, all) = (
        filled::bytes(&product.data(leader), Some(changed)),
        filled::bytes(&product.data(leader), Some(&ids)),
    );
    product.stop().await;
    let list = LIST_BYTES_PER_FILE * f64::from(count + 1);
    let ratio = (received - list).max(0.0) / some as f64;
    report.add(Row {
        figure: "rejoin",
        of: format!("{}, {count} organizations, {} of them changed", nodes(3), changed.len()),
        values: vec![
            ("all_mib", all as f64 / MIB),
            ("changed_mib", some as f64 / MIB),
            ("received_mib", received / MIB),
            ("list_allowed_mib", list / MIB),
            ("received_by_changed", received / some as f64),
            ("without_the_list", ratio),
            ("seconds", took.as_secs_f64()),
        ],
        aim: Some(("<= 1.2 x changed, the list aside".to_owned(), ratio <= 1.2)),
    });
}

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes that a node received which was killed while organizations were written to, and how long it took to have caught
/// up once it was there again; nothing when they came by the log.
async fn one(product: &Product, changed: &[String]) -> Option<(f64, Duration)> {
    product.ready().await;
    let token = product.platform().await;
    let leader = product.leader().await;
    let away = (leader + 1) % product.nodes();
    let pid = product.pid(away).expect("a node that runs");
    let at = async |node: usize, of: &str| {
        product.metric(node, &format!("threatflow_raft_index{{of=\"{of}\"}}")).await
    };
    // What it has since its last checkpoint it would not know of after a kill, and be sent again.
    let before = at(leader, "applied").await.expect("where the leader stands");
    wait_for("a checkpoint", WITHIN, async || at(away, "checkpoint").await.is_some_and(|at| at >= before))
        .await;
    signal("-9", pid);
    let mut client = Client::open(product.addresses[leader]).await.expect("a connection");
    for id in changed {
        let status = client.exchange(&product::increment(id, &token)).await.expect("an answer");
        assert_eq!(status, 200, "a write while a node is away");
    }
    let stands = async |node: usize| at(node, "applied").await;
    let wanted = stands(leader).await.expect("where the leader stands");
    wait_for("the node to be there again", WITHIN, async || stands(away).await.is_some()).await;
    let begun = Instant::now();
    wait_for("the node to catch up", WITHIN, async || stands(away).await.is_some_and(|at| at >= wanted))
        .await;
    let took = begun.elapsed();
    let installed = product.metric(away, INSTALLED).await?;
    if installed < 1.0 { None } else { Some((product.metric(away, RECEIVED).await?, took)) }
}
