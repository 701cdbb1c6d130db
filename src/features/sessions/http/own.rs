//! The caller's own sessions.

use super::{acting, settled, view};
use crate::{
    features::sessions::{commands::EndOwn, queries},
    kernel::Page,
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/auth/sessions",
            "listOwnSessions",
            "List the caller's sessions, oldest first",
            Needs::Caller,
            |cx| Box::pin(list(cx)),
        )
        .asks(QueryFields::window),
        Route::v2(
            Method::Delete,
            "/auth/sessions",
            "endOtherSessions",
            "End all of the caller's sessions but this one",
            Needs::Caller,
            |cx| Box::pin(end_others(cx)),
        )
        .answers(204),
        Route::v2(
            Method::Delete,
            "/auth/sessions/{id}",
            "endOwnSession",
            "End one of the caller's sessions",
            Needs::Caller,
            |cx| Box::pin(end_one(cx)),
        )
        .answers(204),
    ]
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let (home, user, current) = acting(&cx)?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let read =
        move |tx: &rusqlite::Connection| Ok((queries::of_user(tx, user, &window)?, queries::policy(tx)?.0));
    let (page, policy) = cx.cluster.read(&cx.view, home, read).await?.ok_or_else(Problem::not_found)?;
    let now = cx.now;
    let Page { rows, next } = page;
    let alive = rows.into_iter().filter(|session| policy.alive(session.created, session.seen, now));
    let rows = alive.map(|session| view(&session, &policy, Some(current))).collect();
    Ok(Reply::page(Page { rows, next }))
}

async fn end_others(cx: Cx) -> Result<Reply, Problem> {
    cx.query().finish()?;
    let (home, ..) = acting(&cx)?;
    let answer = cx.cluster.propose(&cx.ticket, home, &EndOwn { session: None }).await?;
    settled(&cx, &answer).await?;
    Ok(Reply::none().after(&answer))
}

async fn end_one(cx: Cx) -> Result<Reply, Problem> {
    cx.query().finish()?;
    let (home, ..) = acting(&cx)?;
    let Ok(session) = cx.param("id").parse() else { return Err(Problem::not_found()) };
    let answer = cx.cluster.propose(&cx.ticket, home, &EndOwn { session: Some(session) }).await?;
    settled(&cx, &answer).await?;
    Ok(Reply::none().after(&answer))
}
