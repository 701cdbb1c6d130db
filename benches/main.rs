//! The figures: how fast the real binary is, on this machine, with fsync on, beside etcd.
//!
//! `cargo bench --bench figures -- [--quick] [--only NAME] [--binary PATH]`. It starts the release binary
//! as a user would (one node by `serve`, three by `demo`), drives it over HTTP, and prints one JSON line
//! for each figure and a table at the end. Everything it starts listens on loopback, lives in a folder of
//! its own below the target folder (so that it is the same disk that fsync is measured on) and is stopped
//! by pid. Start at `run`, then `figures/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::pedantic,
    unreachable_pub,
    missing_docs
)]

mod bucket;
mod etcd;
mod figures;
mod http;
mod load;
mod options;
mod process;
mod product;
mod report;

use self::{
    etcd::Etcd,
    figures::{
        access, back, backup, checks, cold, crowd, failover, flood, idle, import, lists, login, reads,
        rejoin, restart, restore, rpo, scrub, startup, stop, tokens, writes,
    },
    options::{Figure, Options},
    product::Product,
    report::Report,
};

fn main() {
    let options = Options::parse();
    // One thread: the generator must leave the cores to what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let mut report = Report::begin(options);
    for nodes in [1, 3] {
        if !options.wants_a_cluster_of(nodes) {
            continue;
        }
        let product = Product::start(options, nodes).await;
        on_a_cluster(options, &product, &mut report).await;
        product.stop().await;
    }
    if options.wants(Figure::Startup) {
        startup::measure(options, &mut report).await;
    }
    if options.wants(Figure::Cold) {
        cold::measure(options, &mut report).await;
    }
    if options.wants(Figure::Restart) {
        restart::measure(options, &mut report).await;
    }
    if options.wants(Figure::Rejoin) {
        rejoin::measure(options, &mut report).await;
    }
    if options.wants(Figure::Scrub) {
        scrub::measure(options, &mut report).await;
    }
    if options.wants(Figure::Lists) {
        lists::measure(options, &mut report).await;
    }
    if options.wants(Figure::Backup) {
        backup::lag(options, &mut report).await;
    }
    if options.wants(Figure::BackupCost) {
        backup::cost(options, &mut report).await;
    }
    if options.wants(Figure::BackupRequests) {
        backup::requests(options, &mut report).await;
    }
    if options.wants(Figure::Restore) {
        restore::measure(options, &mut report).await;
    }
    if options.wants(Figure::RestoreInPlace) {
        back::measure(options, &mut report).await;
    }
    if options.wants(Figure::Rpo) {
        rpo::measure(options, &mut report).await;
    }
    if options.wants(Figure::Access) {
        access::measure(options, &mut report);
    }
    report.end();
}

/// In this order: a fresh cluster is idle, a used one is not, and the failover ends it.
async fn on_a_cluster(options: &Options, product: &Product, report: &mut Report) {
    if options.wants(Figure::Idle) {
        idle::measure(options, product, report).await;
    }
    if options.wants(Figure::Writes) {
        let peer = if product.nodes() == 3 { Etcd::start().await } else { None };
        writes::measure(options, product, peer.as_ref(), report).await;
    }
    if options.wants(Figure::Import) {
        import::measure(options, product, report).await;
    }
    if options.wants(Figure::Reads) {
        reads::measure(options, product, report).await;
    }
    if options.wants(Figure::Tokens) {
        tokens::measure(options, product, report).await;
    }
    if options.wants(Figure::Login) && product.nodes() == 1 {
        login::measure(options, product, report).await;
    }
    if options.wants(Figure::Checks) && product.nodes() == 1 {
        checks::measure(options, product, report).await;
    }
    if options.wants(Figure::Stop) && product.nodes() > 1 {
        stop::measure(options, product, report).await;
    }
    if options.wants(Figure::Flood) {
        flood::measure(options, product, report).await;
    }
    if options.wants(Figure::Crowd) && product.nodes() > 1 {
        crowd::measure(options, product, report).await;
    }
    if options.wants(Figure::Failover) && product.nodes() > 1 {
        failover::measure(options, product, report).await;
    }
}
