//! Sessions of others, for administrators. They tell addresses and devices: seeing users is not enough.

use super::{settled, view};
use crate::{
    features::sessions::{commands::EndUsers, queries},
    kernel::{Page, Permission, UserId},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/organizations/{org}/users/{id}/sessions",
            "listUserSessions",
            "List a user's sessions, oldest first",
            Needs::Caller,
            |cx| Box::pin(list(cx)),
        )
        .asks(QueryFields::window),
        Route::v2(
            Method::Delete,
            "/organizations/{org}/users/{id}/sessions",
            "endUserSessions",
            "End all of a user's sessions, but for the one that asks",
            Needs::Caller,
            |cx| Box::pin(end_users(cx)),
        )
        .answers(204),
        Route::v2(
            Method::Delete,
            "/organizations/{org}/sessions",
            "endAllSessions",
            "End everybody's sessions, but for the one that asks",
            Needs::Caller,
            |cx| Box::pin(end_everybodys(cx)),
        )
        .answers(204),
    ]
}

fn user(cx: &Cx) -> Result<UserId, Problem> {
    cx.param("id").parse().map_err(|_| Problem::not_found())
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::SessionRead).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let user = user(&cx)?;
    let read = move |tx: &rusqlite::Connection| {
        let known = queries::person(tx, user)?.is_some();
        Ok(known.then_some((queries::of_user(tx, user, &window)?, queries::policy(tx)?.0)))
    };
    let found = cx.cluster.read(&cx.view, organization, read).await?.flatten();
    let (Page { rows, next }, policy) = found.ok_or_else(Problem::not_found)?;
    let now = cx.now;
    let alive = rows.into_iter().filter(|session| policy.alive(session.created, session.seen, now));
    let rows = alive.map(|session| view(&session, &policy, cx.caller.session)).collect();
    Ok(Reply::page(Page { rows, next }))
}

async fn end_users(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::SessionEnd).await?;
    cx.query().finish()?;
    let command = EndUsers { user: Some(user(&cx)?) };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    settled(&cx, &answer).await?;
    Ok(Reply::none().after(&answer))
}

async fn end_everybodys(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::SessionEnd).await?;
    cx.query().finish()?;
    let answer = cx.cluster.propose(&cx.ticket, organization, &EndUsers { user: None }).await?;
    settled(&cx, &answer).await?;
    Ok(Reply::none().after(&answer))
}
