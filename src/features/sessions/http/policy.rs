//! How long sessions of an organization last.

use serde_json::{Value, json};

use super::settled;
use crate::{
    features::sessions::{commands::SetPolicy, model::Policy, queries},
    kernel::Permission,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/organizations/{org}/session-policy",
            "getSessionPolicy",
            "Show how long sessions last",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
        Route::v2(
            Method::Put,
            "/organizations/{org}/session-policy",
            "setSessionPolicy",
            "Set how long sessions last; it holds for open ones at once",
            Needs::Caller,
            |cx| Box::pin(set(cx)),
        )
        .takes(read),
    ]
}

fn read(fields: &mut Fields) -> Option<Policy> {
    let mut bounded = |name, (min, max)| fields.required(name, value::integer(min, max));
    let idle_minutes = bounded("idle_minutes", Policy::IDLE_MINUTES);
    let absolute_hours = bounded("absolute_hours", Policy::ABSOLUTE_HOURS);
    let concurrent_max = bounded("concurrent_max", Policy::CONCURRENT_MAX);
    Some(Policy {
        idle_minutes: idle_minutes?,
        absolute_hours: absolute_hours?,
        concurrent_max: concurrent_max?,
    })
}

fn shown(policy: &Policy) -> Value {
    json!({
        "idle_minutes": policy.idle_minutes,
        "absolute_hours": policy.absolute_hours,
        "concurrent_max": policy.concurrent_max,
    })
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationRead).await?;
    cx.query().finish()?;
    let found = cx.cluster.read(&cx.view, organization, queries::policy).await?;
    let (policy, version) = found.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(shown(&policy)).etag(version))
}

async fn set(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::SecurityManage).await?;
    let mut fields = cx.fields()?;
    let policy = read(&mut fields);
    fields.finish()?;
    let command = SetPolicy { if_version: cx.if_match, policy: policy.ok_or_else(Problem::not_found)? };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    settled(&cx, &answer).await?;
    Ok(Reply::ok(shown(&command.policy)).etag(answer.reply).after(&answer))
}
