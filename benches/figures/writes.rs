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

pub async fn measure(options: &Options, product: &Product, peer: Option<&Etcd>, report: &mut Report) {
    for clients in CLIENTS {
        // Anew for each: a token lives for ten minutes.
        let organization = product.organization(&format!("writes-{clients}")).await;
        for leader_only in [true, false] {
            if !leader_only && product.nodes() == 1 {
                continue;
            }
            let ours = targets(product, &organization, leader_only).await;
            let theirs = peer.map(|peer| peer.targets(leader_only));
            let (mut us, mut them) = (Seen::default(), Seen::default());
            for _ in 0..options.rounds() {
                us.merge(load::round(&ours, clients, options.round()).await);
                if let Some(theirs) = &theirs {
                    them.merge(load::round(theirs, clients, options.round()).await);
                }
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

fn tell(report: &mut Report, of: String, clients: usize, mut us: Seen, them: Option<Seen>) {
    let (rate, p50) = (us.per_second(), us.quantile_ms(0.5));
    let aim = match clients {
        1 => Some(("p50 <= 1.5 ms".to_owned(), p50 <= 1.5)),
        64 => Some((">= 10000/s".to_owned(), rate >= 10_000.0)),
        _ => None,
    };
    let mut values = vec![("per_second", rate), ("p50_ms", p50), ("p99_ms", us.quantile_ms(0.99))];
    values.push(("failed", us.failed as f64));
    report.add(Row { figure: "writes", of: of.clone(), values, aim });
    let Some(mut them) = them else { return };
    let (their_rate, their_p50) = (them.per_second(), them.quantile_ms(0.5));
    let values = vec![
        ("per_second", their_rate),
        ("p50_ms", their_p50),
        ("p99_ms", them.quantile_ms(0.99)),
        ("failed", them.failed as f64),
        ("ours_by_theirs_rate", rate / their_rate),
        ("ours_by_theirs_p50", p50 / their_p50),
    ];
    report.add(Row { figure: "etcd writes", of, values, aim: None });
}
