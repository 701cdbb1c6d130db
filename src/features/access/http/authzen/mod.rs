//! AuthZEN Authorization API 1.0: other services ask what may be done, in the standard way.
//!
//! Start at `read.rs`: what a question is, and how it becomes one of ours.

mod evaluate;
mod judge;
mod metadata;
mod read;
mod search;

pub use read::sketch;

use super::with;
use crate::{
    features::access::Recall,
    web::{Cx, Later, Method, Needs, Problem, Reply, Route},
};

/// Largest body: a hundred questions with their properties.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The routes: each for the caller's own organization (or the one that the context names), and for one in the path.
pub(super) fn routes(recall: &Recall, public_url: Option<&str>) -> Vec<Route> {
    let asked = |path, name, handle| {
        let route = Route::bare(Method::Post, path, name, SUMMARY, Needs::Caller, handle);
        route.takes_json("a request of the AuthZEN Authorization API 1.0").body_max(BODY_BYTES_MAX)
    };
    vec![
        metadata::route(public_url),
        asked("/access/v1/evaluation", "evaluate", boxed(with(recall, evaluate::one))),
        asked("/access/v1/evaluations", "evaluateMany", boxed(with(recall, evaluate::many))),
        asked("/access/v1/search/subject", "searchSubjects", boxed(with(recall, search::subjects))),
        asked("/access/v1/search/resource", "searchResources", boxed(with(recall, search::resources))),
        asked("/access/v1/search/action", "searchActions", boxed(with(recall, search::actions))),
        asked("/organizations/{org}/access/v1/evaluation", "evaluateIn", boxed(with(recall, evaluate::one))),
        asked(
            "/organizations/{org}/access/v1/evaluations",
            "evaluateManyIn",
            boxed(with(recall, evaluate::many)),
        ),
        asked(
            "/organizations/{org}/access/v1/search/subject",
            "searchSubjectsIn",
            boxed(with(recall, search::subjects)),
        ),
        asked(
            "/organizations/{org}/access/v1/search/resource",
            "searchResourcesIn",
            boxed(with(recall, search::resources)),
        ),
        asked(
            "/organizations/{org}/access/v1/search/action",
            "searchActionsIn",
            boxed(with(recall, search::actions)),
        ),
    ]
}

type Handle = Box<dyn Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync>;

/// Handlers of one type, so that the table above can be a table.
fn boxed(handle: impl Fn(Cx) -> Later<'static, Result<Reply, Problem>> + Send + Sync + 'static) -> Handle {
    Box::new(handle)
}

const SUMMARY: &str = "Ask what may be done, as AuthZEN 1.0 has it";
