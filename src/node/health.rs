//! What the outside may ask about the process itself, without credentials.
//!
//! Anybody learns whether it lives, whether it is ready, and its version. More, and `/metrics`, is told on a
//! listener that only this machine or its operator reaches. Nothing names a tenant.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use raft::{Leadership, Member, Status};
use serde_json::{Value, json};

use super::metrics;
use crate::{
    cluster::{About, Cluster, View},
    kernel::OrgId,
    web::Traffic,
};

/// A node that has committed entries left to apply, but no more than this, is current.
const BEHIND_MAX: u64 = 1_000;
/// Elections that a leader may be silent for: a new one would have been heard long before.
const SILENCE_ELECTIONS: u32 = 10;
const SILENCE_MIN: Duration = Duration::from_secs(3);

/// Who reaches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Who is on this machine, or on the network of its operators.
    Operators,
    /// Anybody.
    Anybody,
}

impl Audience {
    /// That of the API's listener.
    pub(super) fn of(listening: SocketAddr) -> Self {
        if listening.ip().to_canonical().is_loopback() { Self::Operators } else { Self::Anybody }
    }
}

/// What the probes look at.
pub(super) struct Health {
    cluster: Cluster,
    traffic: Arc<Traffic>,
    draining: AtomicBool,
    /// A leader that was not heard for so long is not known any more.
    silence: Duration,
    /// Whether this node has once applied everything that was acknowledged before it started.
    current: AtomicBool,
}

impl Health {
    /// The health of a node that has just started.
    pub(super) fn new(cluster: Cluster, traffic: Arc<Traffic>, election: Duration) -> Arc<Self> {
        let silence = (election * SILENCE_ELECTIONS).max(SILENCE_MIN);
        let (draining, current) = (false.into(), false.into());
        let health = Arc::new(Self { cluster, traffic, draining, silence, current });
        tokio::spawn(Arc::clone(&health).catch_up());
        health
    }

    /// From now on the node is not ready: it stops.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The operational endpoints, as `audience` may see them.
    pub(super) fn router(self: &Arc<Self>, audience: Audience) -> Router {
        let router = Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready))
            .route("/version", get(version));
        let router =
            if audience == Audience::Operators { router.route("/metrics", get(metrics)) } else { router };
        router.with_state(Probe { health: Arc::clone(self), audience })
    }

    async fn catch_up(self: Arc<Self>) {
        while !self.draining.load(Ordering::Relaxed) {
            if self.cluster.await_view(&View::Strong).await.is_ok() {
                self.current.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Every check by name, with what is wrong where something is.
    fn checks(&self, leader_wanted: bool) -> Vec<(&'static str, Result<(), &'static str>)> {
        let leadership = *self.cluster.leadership().borrow();
        let status = self.cluster.replica().status();
        let behind = status.commit_index.saturating_sub(status.applied_index) > BEHIND_MAX;
        // A follower that is cut off cannot elect anybody else, so it keeps the last leader it knew.
        let known = leadership != Leadership::NoLeader && self.cluster.replica().silence() < self.silence;
        let check = |good: bool, wrong: &'static str| if good { Ok(()) } else { Err(wrong) };
        let mut checks = vec![
            ("running", check(status.role != "halted", "this node met a fault")),
            ("serving", check(!self.draining.load(Ordering::Relaxed), "this node is stopping")),
            ("leader_known", check(known, "no leader is known")),
            (
                "sound",
                check(
                    !self.cluster.store().is_quarantined(OrgId::SYSTEM),
                    "the system file is being repaired",
                ),
            ),
            ("current", check(self.current.load(Ordering::Relaxed) && !behind, "this node is catching up")),
        ];
        if leader_wanted {
            checks.push((
                "leader",
                check(matches!(leadership, Leadership::Leader { .. }), "another node leads"),
            ));
        }
        checks
    }
}

/// The health, as somebody may see it.
#[derive(Clone)]
struct Probe {
    health: Arc<Health>,
    audience: Audience,
}

impl Probe {
    fn is_verbose(&self, query: &str) -> bool {
        self.audience == Audience::Operators && asked(query, "verbose")
    }
}

async fn live(State(probe): State<Probe>, RawQuery(query): RawQuery) -> Response {
    let mut checks = probe.health.checks(false);
    checks.retain(|(name, _)| *name == "running");
    render(&probe, &checks, &query.unwrap_or_default())
}

async fn ready(State(probe): State<Probe>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let checks = probe.health.checks(asked(&query, "role=leader"));
    render(&probe, &checks, &query)
}

async fn version(State(probe): State<Probe>, RawQuery(query): RawQuery) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    if probe.is_verbose(&query.unwrap_or_default()) {
        return answer(StatusCode::OK, Some(json!({ "name": "threatflow", "version": version })), "");
    }
    answer(StatusCode::OK, None, &format!("threatflow {version}\n"))
}

async fn metrics(State(probe): State<Probe>) -> Response {
    let page = metrics::page(&probe.health.cluster, &probe.health.traffic);
    let headers = [
        (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::OK, headers, page).into_response()
}

fn render(probe: &Probe, checks: &[(&'static str, Result<(), &'static str>)], query: &str) -> Response {
    let wrong: Vec<&str> = checks.iter().filter_map(|(_, outcome)| outcome.err()).collect();
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !probe.is_verbose(query) {
        let text = if wrong.is_empty() { "ok".to_owned() } else { wrong.join(", ") };
        return answer(status, None, &format!("{text}\n"));
    }
    let about = probe.health.cluster.replica().status();
    let listed: serde_json::Map<String, Value> = checks
        .iter()
        .map(|(name, outcome)| ((*name).to_owned(), json!(outcome.err().unwrap_or("ok"))))
        .collect();
    let own = About::of(&probe.health.cluster);
    let body = json!({
        "status": if wrong.is_empty() { "ok" } else { "unavailable" },
        "checks": listed,
        // They take nothing away from the answer: a node with a low disk serves until it is full.
        "warnings": own.warnings,
        "node": about.node,
        "role": about.role,
        "term": about.term,
        "leader": about.leader,
        "failure_tolerance": about.failure_tolerance,
        "last_index": about.last_index,
        "commit_index": about.commit_index,
        "applied_index": about.applied_index,
        // The leader is the last one known: how old that is shows here.
        "staleness_ms": u64::try_from(probe.health.cluster.replica().staleness().as_millis()).ok(),
        "members": members(&about, &own),
    });
    answer(status, Some(body), "")
}

/// The members as this node knows them by itself, and what it is made of; nobody else is asked.
fn members(status: &Status, own: &About) -> Vec<Value> {
    // An alarm names an organization.
    let own = About { alarms: BTreeMap::new(), ..own.clone() };
    let view = |member: &Member| {
        let mut view = json!(member);
        if let Some(view) = view.as_object_mut().filter(|_| member.node == status.node) {
            view.insert("about".to_owned(), json!(own));
        }
        view
    };
    status.members.iter().map(view).collect()
}

fn answer(status: StatusCode, body: Option<Value>, text: &str) -> Response {
    let (kind, body) = match body {
        Some(body) => ("application/json", body.to_string()),
        None => ("text/plain; charset=utf-8", text.to_owned()),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

/// `verbose`, `verbose=1` or `role=leader` among the parameters.
fn asked(query: &str, wanted: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair == wanted || pair.split_once('=').is_some_and(|(name, _)| name == wanted))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Audience;

    #[test]
    fn only_a_loopback_listener_is_the_operators_own() {
        let of = |address: &str| Audience::of(address.parse().unwrap());
        for own in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(of(own), Audience::Operators, "{own}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(of(open), Audience::Anybody, "{open}");
        }
    }
}
