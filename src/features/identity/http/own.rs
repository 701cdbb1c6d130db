//! What a caller does with itself: who am I, my profile.

use serde_json::json;

use super::{people::read_changes, read_back};
use crate::{
    cluster::View,
    features::{
        access,
        identity::{UpdateSelf, queries},
    },
    kernel::{OrgId, Permission, UserId},
    web::{Cx, Method, Needs, Problem, Reply, Route},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(Method::Get, "/auth/me", "whoAmI", "The caller and its permissions", Needs::Caller, |cx| {
            Box::pin(me(cx))
        })
        .and_v1("/auth/me"),
        Route::v2(
            Method::Patch,
            "/auth/me",
            "updateMe",
            "Change the caller's own profile",
            Needs::Caller,
            |cx| Box::pin(update(cx)),
        )
        .takes(read_changes),
    ]
}

fn own(cx: &Cx) -> Result<(OrgId, UserId), Problem> {
    match (cx.caller.home, cx.caller.actor.user()) {
        (Some(home), Some(user)) => Ok((home, user)),
        _ => Err(Problem::unauthenticated()),
    }
}

async fn me(cx: Cx) -> Result<Reply, Problem> {
    let (home, id) = own(&cx)?;
    let (actor, how) = (cx.caller.actor.clone(), access::circumstances_of(&cx.ticket.origin, cx.now));
    let read = cx.cluster.read(&View::Local, home, move |tx| {
        let Some(user) = queries::by_id(tx, id)? else { return Ok(None) };
        Ok(Some((user, access::compiled(tx, home, &actor)?)))
    });
    let (user, rights) = read.await?.flatten().ok_or_else(Problem::unauthenticated)?;
    // What can be allowed, at least on some condition.
    let may = |needed: &&Permission| rights.require_some(**needed, &how).is_ok();
    let permissions: Vec<_> = Permission::ALL.iter().filter(may).map(|held| held.name()).collect();
    let organization =
        if home.is_system() { json!({ "id": home, "slug": "system" }) } else { json!({ "id": home }) };
    let body = json!({ "user": user.view(), "organization": organization, "permissions": permissions });
    Ok(Reply::ok(body).etag(user.version))
}

async fn update(cx: Cx) -> Result<Reply, Problem> {
    let (home, id) = own(&cx)?;
    let mut fields = cx.fields()?;
    let changes = read_changes(&mut fields);
    fields.finish()?;
    let command = UpdateSelf { if_version: cx.if_match, changes };
    let answer = cx.cluster.propose(&cx.ticket, home, &command).await?;
    let user = read_back(&cx, home, id, answer.index).await?;
    Ok(Reply::ok(user.view()).etag(user.version).after(&answer))
}
