//! Approving, activating, deactivating; who gets in when nothing else does.

use serde_json::json;

use super::{id_of, read_back};
use crate::{
    cluster::Command,
    features::identity::{Activate, Approve, Deactivate, NameBreakGlass, RequirePassword, queries},
    kernel::{Permission, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

const GLASS: &str = "/organizations/{org}/break-glass";

pub(super) fn routes() -> Vec<Route> {
    vec![
        step(
            "/organizations/{org}/users/{id}/approve",
            "approveUser",
            "Let somebody in who accepted an invitation",
            |id| Approve { id },
        ),
        step(
            "/organizations/{org}/users/{id}/activate",
            "activateUser",
            "Let a deactivated user in again",
            |id| Activate { id },
        ),
        step(
            "/organizations/{org}/users/{id}/deactivate",
            "deactivateUser",
            "Keep a user out, and end its sessions",
            |id| Deactivate { id },
        ),
        step(
            "/organizations/{org}/users/{id}/require-password-change",
            "requirePasswordChange",
            "Have a user choose a new password before it gets a session again",
            |id| RequirePassword { id },
        ),
        Route::v2(
            Method::Get,
            GLASS,
            "getBreakGlass",
            "Show the administrators that get in when nothing else does",
            Needs::Caller,
            |cx| Box::pin(show_glass(cx)),
        ),
        Route::v2(
            Method::Put,
            GLASS,
            "nameBreakGlass",
            "Name the administrators that get in when nothing else does; each of their logins is an alarm",
            Needs::Caller,
            |cx| Box::pin(name_glass(cx)),
        )
        .takes(read_glass),
    ]
}

/// A step of a user's life: a command that needs nothing but who.
fn step<C: Command + Sync>(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    make: fn(UserId) -> C,
) -> Route {
    Route::v2(Method::Post, path, operation, summary, Needs::Caller, move |cx| Box::pin(propose(cx, make)))
}

async fn propose<C: Command + Sync>(cx: Cx, make: fn(UserId) -> C) -> Result<Reply, Problem> {
    let organization = cx.place(C::NEEDS).await?;
    let id = id_of(&cx)?;
    let answer = cx.cluster.propose(&cx.ticket, organization, &make(id)).await?;
    let user = read_back(&cx, organization, id, answer.index).await?;
    Ok(Reply::ok(user.view()).etag(user.version).after(&answer))
}

async fn show_glass(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let users = cx.cluster.read(&cx.view, organization, queries::break_glass).await?;
    let users = users.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(json!({ "users": users })))
}

async fn name_glass(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UserManage).await?;
    let mut fields = cx.fields()?;
    let users = read_glass(&mut fields);
    fields.finish()?;
    let command = NameBreakGlass { users: users.unwrap_or_default() };
    let answer = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    Ok(Reply::ok(json!({ "users": command.users })).after(&answer))
}

fn read_glass(fields: &mut Fields) -> Option<Vec<UserId>> {
    fields.required("users", value::list(10, value::parsed::<UserId>("the id of a user")))
}
