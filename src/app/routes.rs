//! Every route there is, and what serves them.

use std::sync::Arc;

use axum::Router;

use super::gate::AppGate;
use crate::{
    cluster::Cluster,
    features::{
        audit, identity,
        identity::{PasswordPool, Recogniser, Tokens},
        intel, membership, organizations,
        quotas::{self, calls::CallMeter},
    },
    web::{self, Frame, Route},
};

/// What the routes and the jobs of one node share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// The way into the cluster.
    pub cluster: Cluster,
    /// Permits for API calls.
    pub meter: CallMeter,
    recogniser: Recogniser,
    passwords: PasswordPool,
    tokens: Arc<Tokens>,
}

impl State {
    /// The state of a node that is about to serve.
    pub fn new(cluster: Cluster, tokens: Tokens) -> Self {
        let tokens = Arc::new(tokens);
        let recogniser = Recogniser::new(cluster.clone(), Arc::clone(&tokens));
        let meter = CallMeter::new(cluster.clone());
        Self { cluster, meter, recogniser, passwords: PasswordPool::default(), tokens }
    }
}

/// Every route, by slice.
pub fn routes(state: &State) -> Vec<Route> {
    [
        identity::http::routes(&state.passwords, &state.tokens),
        organizations::http::routes(&state.passwords),
        quotas::http::routes(),
        intel::http::routes(),
        audit::http::routes(),
        membership::http::routes(),
    ]
    .concat()
}

/// The server of every route.
pub fn router(state: State) -> Router {
    let routes = routes(&state);
    let gate = Arc::new(AppGate::new(state.cluster.clone(), state.recogniser, state.meter));
    web::router(Arc::new(Frame { cluster: state.cluster, gate }), routes)
}
