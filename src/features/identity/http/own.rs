//! What a caller does with itself: who am I, my profile, my password.

use serde_json::json;

use super::{judge, known_password, new_password, people::read_changes, read_back};
use crate::{
    cluster::View,
    features::identity::{ChangePassword, PasswordPool, UpdateSelf, queries},
    kernel::{OrgId, Permission, Secret, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route},
};

pub(super) fn routes(pool: &PasswordPool) -> Vec<Route> {
    let pool = pool.clone();
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
        Route::v2(
            Method::Post,
            "/auth/password/change",
            "changePassword",
            "Change the caller's password; its other sessions end",
            Needs::Caller,
            move |cx| {
                let pool = pool.clone();
                Box::pin(async move { change(cx, &pool).await })
            },
        )
        .takes(read_change),
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
    let user = cx.cluster.read(&View::Local, home, move |tx| queries::by_id(tx, id)).await?.flatten();
    let user = user.ok_or_else(Problem::unauthenticated)?;
    let permissions: Vec<_> =
        Permission::ALL.iter().filter(|needed| user.role.holds(**needed)).map(|held| held.name()).collect();
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

/// The old password is asked for even though the caller is logged in: a session left open is not the person.
async fn change(cx: Cx, pool: &PasswordPool) -> Result<Reply, Problem> {
    let (home, id) = own(&cx)?;
    let mut fields = cx.fields()?;
    let asked = read_change(&mut fields);
    fields.finish()?;
    let (old, new) = asked.ok_or_else(Problem::unauthenticated)?;
    let login =
        cx.cluster.read(&View::Session(None), home, move |tx| queries::by_user(tx, id)).await?.flatten();
    let login = login.ok_or_else(Problem::unauthenticated)?;
    let same = old.reveal() == new.reveal();
    let old_hash = login.password_hash.clone();
    if !pool.verify(old, old_hash).await? {
        return Err(Problem::field("/current_password", "is not your password"));
    }
    if same {
        return Err(Problem::field("/new_password", "is the old one"));
    }
    let person = [login.user.email.as_str(), &login.user.first_name, &login.user.last_name];
    judge(&cx, home, &person, "/new_password", &new).await?;
    let command =
        ChangePassword { old_hash: login.password_hash.unwrap_or_default(), new_hash: pool.hash(new).await? };
    let answer = cx.cluster.propose(&cx.ticket, home, &command).await?;
    Ok(Reply::none().after(&answer))
}

fn read_change(fields: &mut Fields) -> Option<(Secret<String>, Secret<String>)> {
    let old = fields.required("current_password", known_password());
    let new = fields.required("new_password", new_password());
    Some((old?, new?))
}
