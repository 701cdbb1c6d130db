//! Every route there is, and what serves them.

use std::sync::Arc;

use serde_json::json;

use super::gate::AppGate;
use crate::{
    cluster::{Cluster, Rehearse},
    features::{
        access::{self, Recall},
        audit, backup,
        factors::{self, Passkeys},
        forward, identity,
        identity::PasswordPool,
        intel, keys,
        login::{self, Desk},
        membership, organizations,
        quotas::{self, calls::CallMeter},
        sessions::{self, Recogniser, Tokens},
        workspace,
    },
    kernel::{Network, OrgId, Permission},
    store::REHEARSAL,
    web::{self, Frame, Method, Needs, Reply, Route, Router, Traffic},
};

/// What the routes and the jobs of one node share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// The way into the cluster.
    pub cluster: Cluster,
    /// Permits for API calls.
    pub meter: CallMeter,
    /// What is asked and how it is answered.
    pub traffic: Arc<Traffic>,
    /// How callers are recognised.
    pub recogniser: Recogniser,
    desk: Desk,
    trusted_proxies: Vec<Network>,
}

impl State {
    /// The state of a node that is about to serve.
    pub fn new(cluster: Cluster, desk: Desk, trusted_proxies: Vec<Network>) -> Self {
        let recogniser = Recogniser::new(cluster.clone(), Arc::clone(&desk.tokens));
        let meter = CallMeter::new(cluster.clone());
        let traffic = Arc::default();
        Self { cluster, meter, traffic, recogniser, desk, trusted_proxies }
    }
}

/// Every route as data, for tests and descriptions; not to be served.
pub fn listed() -> Vec<Route> {
    let passkeys = Passkeys::new("http://localhost");
    routes(&Desk::new(Tokens::new(None), PasswordPool::default(), None, passkeys), &Recall::default())
}

/// Every route, by slice.
fn routes(desk: &Desk, recall: &Recall) -> Vec<Route> {
    let mut routes = [
        sessions::http::routes(&desk.tokens),
        login::http::routes(desk),
        forward::http::routes(&desk.tokens, recall),
        factors::http::routes(&desk.passkeys, &desk.pool),
        identity::http::routes(&desk.pool),
        access::http::routes(recall, desk.tokens.public_url()),
        organizations::http::routes(&desk.pool),
        quotas::http::routes(),
        intel::http::routes(),
        workspace::http::routes(),
        audit::http::routes(),
        membership::http::routes(),
        keys::http::routes(),
        backup::http::routes(),
    ]
    .concat();
    if REHEARSAL {
        routes.push(rehearsal());
    }
    routes.push(web::openapi::route(&routes));
    routes
}

/// What the build for the test of rolling upgrades serves beside them.
fn rehearsal() -> Route {
    let summary = "Do what only the next level can";
    Route::v2(Method::Post, "/cluster/rehearsal", "rehearse", summary, Needs::Caller, |cx| {
        Box::pin(async move {
            let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
            let answer = cx.cluster.propose(&cx.ticket, system, &Rehearse {}).await?;
            Ok(Reply::ok(json!({ "count": answer.reply })).after(&answer))
        })
    })
}

/// The server of every route.
pub fn router(state: State) -> Router {
    let recall = Recall::default();
    let routes = routes(&state.desk, &recall);
    let gate = Arc::new(AppGate::new(state.cluster.clone(), state.recogniser, state.meter, recall));
    let (cluster, traffic, trusted_proxies) = (state.cluster, state.traffic, state.trusted_proxies);
    web::router(Arc::new(Frame { cluster, gate, traffic, trusted_proxies }), routes)
}
