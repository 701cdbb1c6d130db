//! What the outside may ask about the process itself: no version, no tenant, no credentials.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use raft::Leadership;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, View},
    kernel::OrgId,
};

/// A node that has committed entries left to apply, but no more than this, is current.
const BEHIND_MAX: u64 = 1_000;

/// What the probes look at.
pub(super) struct Health {
    cluster: Cluster,
    draining: AtomicBool,
    /// Whether this node has once applied everything that was acknowledged before it started.
    current: AtomicBool,
}

impl Health {
    /// The health of a node that has just started.
    pub(super) fn new(cluster: Cluster) -> Arc<Self> {
        let health = Arc::new(Self { cluster, draining: false.into(), current: false.into() });
        tokio::spawn(Arc::clone(&health).catch_up());
        health
    }

    /// From now on the node is not ready: it stops.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The operational endpoints.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready))
            .route("/version", get(version))
            .with_state(Arc::clone(self))
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
        let check = |good: bool, wrong: &'static str| if good { Ok(()) } else { Err(wrong) };
        let mut checks = vec![
            ("running", check(status.role != "halted", "this node met a fault")),
            ("serving", check(!self.draining.load(Ordering::Relaxed), "this node is stopping")),
            ("leader_known", check(leadership != Leadership::NoLeader, "no leader is known")),
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

async fn live(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    let mut checks = health.checks(false);
    checks.retain(|(name, _)| *name == "running");
    render(&health, &checks, &query.unwrap_or_default())
}

async fn ready(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let checks = health.checks(asked(&query, "role=leader"));
    render(&health, &checks, &query)
}

async fn version(RawQuery(query): RawQuery) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    if asked(&query.unwrap_or_default(), "verbose") {
        return answer(StatusCode::OK, Some(json!({ "name": "threatflow", "version": version })), "");
    }
    answer(StatusCode::OK, None, &format!("threatflow {version}\n"))
}

fn render(health: &Health, checks: &[(&'static str, Result<(), &'static str>)], query: &str) -> Response {
    let wrong: Vec<&str> = checks.iter().filter_map(|(_, outcome)| outcome.err()).collect();
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !asked(query, "verbose") {
        let text = if wrong.is_empty() { "ok".to_owned() } else { wrong.join(", ") };
        return answer(status, None, &format!("{text}\n"));
    }
    let about = health.cluster.replica().status();
    let listed: serde_json::Map<String, Value> = checks
        .iter()
        .map(|(name, outcome)| ((*name).to_owned(), json!(outcome.err().unwrap_or("ok"))))
        .collect();
    let body = json!({
        "status": if wrong.is_empty() { "ok" } else { "unavailable" },
        "checks": listed,
        "node": about.node,
        "role": about.role,
        "leader": about.leader,
        "applied_index": about.applied_index,
    });
    answer(status, Some(body), "")
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
