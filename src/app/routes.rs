//! Every route there is, and what serves them.

use std::sync::Arc;

use serde_json::json;

use super::gate::AppGate;
use crate::{
    cluster::{Cluster, Rehearse},
    features::{
        audit,
        factors::{self, Passkeys},
        identity,
        identity::PasswordPool,
        intel, keys, login, membership, organizations,
        quotas::{self, calls::CallMeter},
        sessions::{self, Recogniser, Tokens},
    },
    kernel::{OrgId, Permission},
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
    recogniser: Recogniser,
    passwords: PasswordPool,
    tokens: Arc<Tokens>,
    passkeys: Passkeys,
}

impl State {
    /// The state of a node that is about to serve, under the URL that people know.
    pub fn new(cluster: Cluster, tokens: Tokens, public_url: &str) -> Self {
        let tokens = Arc::new(tokens);
        let recogniser = Recogniser::new(cluster.clone(), Arc::clone(&tokens));
        let meter = CallMeter::new(cluster.clone());
        let traffic = Arc::default();
        let (passwords, passkeys) = (PasswordPool::default(), Passkeys::new(public_url));
        Self { cluster, meter, traffic, recogniser, passwords, tokens, passkeys }
    }
}

/// Every route as data, for tests and descriptions; not to be served.
pub fn listed() -> Vec<Route> {
    let key = sessions::mint_signing_key().and_then(|key| Tokens::new(&key));
    let passkeys = Passkeys::new("http://localhost");
    key.map(|tokens| routes(&PasswordPool::default(), &Arc::new(tokens), &passkeys)).unwrap_or_default()
}

/// Every route, by slice.
fn routes(passwords: &PasswordPool, tokens: &Arc<Tokens>, passkeys: &Passkeys) -> Vec<Route> {
    let mut routes = [
        login::http::routes(passwords, tokens, passkeys),
        factors::http::routes(passkeys, passwords),
        identity::http::routes(passwords),
        organizations::http::routes(passwords),
        quotas::http::routes(),
        intel::http::routes(),
        audit::http::routes(),
        membership::http::routes(),
        keys::http::routes(),
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
    let routes = routes(&state.passwords, &state.tokens, &state.passkeys);
    let gate = Arc::new(AppGate::new(state.cluster.clone(), state.recogniser, state.meter));
    web::router(Arc::new(Frame { cluster: state.cluster, gate, traffic: state.traffic }), routes)
}
