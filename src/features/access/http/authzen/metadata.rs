//! Where the decision point is: `/.well-known/authzen-configuration`.

use serde_json::json;

use crate::web::{Method, Needs, Problem, Reply, Route};

pub(super) fn route(public_url: Option<&str>) -> Route {
    let summary = "Where AuthZEN 1.0 is served; needs public_url";
    let url = public_url.map(str::to_owned);
    Route::bare(
        Method::Get,
        "/.well-known/authzen-configuration",
        "getAuthzenConfiguration",
        summary,
        Needs::Nobody,
        move |cx| {
            let url = url.clone();
            Box::pin(async move {
                cx.query().finish()?;
                url.map(|url| metadata(&url)).ok_or_else(unset)
            })
        },
    )
}

fn metadata(url: &str) -> Reply {
    let reply = Reply::ok(json!({
        "policy_decision_point": url,
        "access_evaluation_endpoint": format!("{url}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{url}/access/v1/evaluations"),
        "search_subject_endpoint": format!("{url}/access/v1/search/subject"),
        "search_resource_endpoint": format!("{url}/access/v1/search/resource"),
        "search_action_endpoint": format!("{url}/access/v1/search/action"),
    }));
    reply.header("cache-control", "public, max-age=300")
}

fn unset() -> Problem {
    let detail =
        "this installation has no public URL; its operator sets `public_url`, the same on every node";
    Problem::new(404, "not_found", "There is no such thing here", detail)
}
