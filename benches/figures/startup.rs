//! From exec to ready with many organizations, after an orderly stop and after a kill.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    options::Options,
    product::{self, Product},
    report::{Report, Row},
};

/// Organizations created side by side.
const HANDS: usize = 16;
/// Organizations created with one token.
const TOKEN_FOR: usize = 2_000;
const WITHIN: Duration = Duration::from_mins(1);

pub async fn measure(options: &Options, report: &mut Report) {
    let count = options.pick(50, 1000);
    let product = Product::start(options, 1).await;
    let begun = Instant::now();
    create(&product, "startup", count).await;
    let created = begun.elapsed().as_secs_f64();
    let (stopped, product) = again(options, product, true).await;
    let (killed, product) = again(options, product, false).await;
    product.stop().await;
    report.add(Row {
        figure: "start-up",
        of: format!("1 node, {count} organizations"),
        values: vec![
            ("after_a_stop_s", stopped.as_secs_f64()),
            ("after_a_kill_s", killed.as_secs_f64()),
            ("created_per_second", f64::from(count) / created),
        ],
        aim: None,
    });
}

/// Creates organizations without administrators; their ids.
pub async fn create(product: &Product, slug: &str, count: u32) -> Vec<String> {
    let mut ids = Vec::new();
    // A token lives for ten minutes.
    for from in (0..count).step_by(TOKEN_FOR) {
        let (token, to) = (product.platform().await, count.min(from + TOKEN_FOR as u32));
        let hand = async |hand: u32| {
            let mut ids = Vec::new();
            for number in (from + hand..to).step_by(HANDS) {
                let made = product.create(&token, &format!("{slug}-{number}"), None).await;
                ids.push(made["id"].as_str().expect("an id").to_owned());
            }
            ids
        };
        ids.extend(futures_util::future::join_all((0..HANDS as u32).map(hand)).await.concat());
    }
    ids
}

pub async fn again(options: &Options, product: Product, orderly: bool) -> (Duration, Product) {
    let folder = product.leave(orderly).await;
    let begun = Instant::now();
    let product = Product::resume(options, folder);
    until_ready(product.addresses[0]).await;
    (begun.elapsed(), product)
}

async fn until_ready(address: SocketAddr) {
    let until = Instant::now() + WITHIN;
    while !product::is_ready(address).await {
        assert!(Instant::now() < until, "the node did not start within {WITHIN:?}");
        sleep(Duration::from_millis(2)).await;
    }
}
