//! Acknowledged quota increments, and etcd's puts beside them. Rounds alternate, so that noise hits both.

use std::sync::Arc;

use super::nodes;
use crate::{
    etcd::Etcd,
    load::{self, Seen, Target},
    options::Options,
    product::{Organization, Product},
    report::{Report, Row},
};

const CLIENTS: [usize; 3] = [1, 64, 256];

/// What one of the two showed, and what it cost all its nodes together. That hardly depends on what else
/// runs on the machine, unlike the rates.
#[derive(Default)]
struct Side {
    seen: Seen,
    processor_us: f64,
}

impl Side {
    fn values(&mut self) -> Vec<(&'static str, f64)> {
        vec![
            ("per_second", self.seen.per_second()),
            ("p50_ms", self.seen.quantile_ms(0.5)),
            ("p99_ms", self.seen.quantile_ms(0.99)),
            ("cpu_us_per_write", self.processor_us / self.seen.answered as f64),
            ("failed", self.seen.failed as f64),
        ]
    }
}

pub async fn measure(options: &Options, product: &Product, peer: Option<&Etcd>, report: &mut Report) {
    for clients in CLIENTS {
        // Anew for each: a token lives for ten minutes.
        let organization = product.organization(&format!("writes-{clients}")).await;
        let mut counted = (0, 0);
        for leader_only in [true, false] {
            if !leader_only && product.nodes() == 1 {
                continue;
            }
            let ours = targets(product, &organization, leader_only).await;
            let theirs = peer.map(|peer| peer.targets(leader_only));
            let (mut us, mut them) = (Side::default(), Side::default());
            for _ in 0..options.rounds() {
                let before = product.processor_us();
                us.seen.merge(load::round(&ours, clients, options.round()).await);
                us.processor_us += product.processor_us() - before;
                if let (Some(theirs), Some(peer)) = (&theirs, peer) {
                    let before = peer.processor_us();
                    them.seen.merge(load::round(theirs, clients, options.round()).await);
                    them.processor_us += peer.processor_us() - before;
                }
            }
            counted = (counted.0 + us.seen.answered, counted.1 + us.seen.failed);
            product.expect_usage(&organization, &mut counted).await;
            if let Some(peer) = peer {
                peer.expect_puts(them.seen.answered, them.seen.failed).await;
            }
            let of =
                format!("{}, {}", nodes(product.nodes()), clients_at(clients, leader_only, product.nodes()));
            tell(report, of, clients, us, peer.map(|_| them));
        }
    }
}

/// Increments at the leader, or at every node with the followers first: one client then is at a follower.
async fn targets(product: &Product, organization: &Organization, leader_only: bool) -> Vec<Target> {
    let request: Arc<[u8]> = organization.increment().into();
    let (leader, nodes) = (product.leader().await, product.nodes());
    let span = if leader_only { 1 } else { nodes };
    let target = |node: usize| Target { address: product.addresses[node], request: Arc::clone(&request) };
    (0..span).rev().map(|step| target((leader + step) % nodes)).collect()
}

fn clients_at(clients: usize, leader_only: bool, nodes: usize) -> String {
    match (clients, leader_only) {
        (1, true) if nodes > 1 => "1 client at the leader".to_owned(),
        (1, true) => "1 client".to_owned(),
        (1, false) => "1 client at a follower".to_owned(),
        (_, true) if nodes > 1 => format!("{clients} clients at the leader"),
        (_, true) => format!("{clients} clients"),
        (_, false) => format!("{clients} clients at all nodes"),
    }
}

fn tell(report: &mut Report, of: String, clients: usize, mut us: Side, them: Option<Side>) {
    let (rate, p50) = (us.seen.per_second(), us.seen.quantile_ms(0.5));
    let aim = match clients {
        1 => Some(("p50 <= 1.5 ms".to_owned(), p50 <= 1.5)),
        64 => Some((">= 10000/s".to_owned(), rate >= 10_000.0)),
        _ => None,
    };
    report.add(Row { figure: "writes", of: of.clone(), values: us.values(), aim });
    let Some(mut them) = them else { return };
    let mut values = them.values();
    values.push(("ours_by_theirs_rate", rate / them.seen.per_second()));
    values.push(("ours_by_theirs_p50", p50 / them.seen.quantile_ms(0.5)));
    report.add(Row { figure: "etcd writes", of, values, aim: None });
}
