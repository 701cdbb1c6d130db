//! Custom roles, and who has them.

use serde_json::json;

use super::{
    body::{read_role, subject},
    gone, id_in_path, view,
};
use crate::{
    cluster::View,
    features::access::{
        DeleteRole, GiveRole, SaveRole, TakeRole,
        model::{Holding, Subject},
        queries,
    },
    kernel::{Millis, Permission, RoleId},
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

const ALL: &str = "/organizations/{org}/roles";
const ONE: &str = "/organizations/{org}/roles/{id}";
const HOLDERS: &str = "/organizations/{org}/roles/{id}/holders";

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    let nobody = RoleId(uuid::Uuid::nil());
    vec![
        Route::v2(Method::Get, ALL, "listRoles", "List custom roles", caller, |cx| Box::pin(list(cx)))
            .asks(QueryFields::window),
        Route::v2(Method::Post, ALL, "createRole", "Define a custom role", caller, |cx| Box::pin(create(cx)))
            .takes(move |fields| read_role(fields, nobody))
            .creates(),
        Route::v2(Method::Get, ONE, "getRole", "Show a custom role", caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Put, ONE, "updateRole", "Define a custom role anew", caller, |cx| {
            Box::pin(change(cx))
        })
        .takes(move |fields| read_role(fields, nobody)),
        Route::v2(
            Method::Delete,
            ONE,
            "deleteRole",
            "Delete a custom role that nothing refers to",
            caller,
            |cx| Box::pin(delete(cx)),
        ),
        Route::v2(Method::Get, HOLDERS, "listRoleHolders", "List who has a custom role", caller, |cx| {
            Box::pin(holders(cx))
        })
        .asks(QueryFields::window),
        Route::v2(
            Method::Post,
            HOLDERS,
            "giveRole",
            "Give a custom role to a user or a group",
            caller,
            |cx| Box::pin(give(cx)),
        )
        .takes(read_holder),
        Route::v2(
            Method::Delete,
            "/organizations/{org}/roles/{id}/holders/{subject}",
            "takeRole",
            "Take a custom role from a user or a group",
            caller,
            |cx| Box::pin(take(cx)),
        ),
    ]
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| queries::list_roles(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|stored| view(&stored))))
}

async fn create(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let mut fields = cx.fields()?;
    let role = read_role(&mut fields, RoleId(cx.mint_id()));
    fields.finish()?;
    let role = role.ok_or_else(Problem::not_found)?;
    let answer = cx.cluster.propose(&cx.ticket, org, &SaveRole { role, new: true, if_version: None }).await?;
    // A repeated request minted another id: the answer tells which one was taken.
    let id = answer.reply.id;
    let view = View::Session(Some(answer.index));
    let found = cx.cluster.read(&view, org, move |tx| queries::role(tx, id)).await?.flatten();
    let stored = found.ok_or_else(Problem::not_found)?;
    let location = format!("/api/v2/organizations/{org}/roles/{id}");
    Ok(Reply::created(location, super::view(&stored)).etag(stored.version).after(&answer))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let id: RoleId = id_in_path(&cx, "id")?;
    let stored = cx.cluster.read(&cx.view, org, move |tx| queries::role(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored)).etag(stored.version))
}

async fn change(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let id: RoleId = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let role = read_role(&mut fields, id);
    fields.finish()?;
    let role = role.ok_or_else(Problem::not_found)?;
    let save = SaveRole { role, new: false, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    let fresh = View::Session(Some(answer.index));
    let stored = cx.cluster.read(&fresh, org, move |tx| queries::role(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored)).etag(stored.version).after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let role = id_in_path(&cx, "id")?;
    let answer = cx.cluster.propose(&cx.ticket, org, &DeleteRole { role, if_version: cx.if_match }).await?;
    gone(&cx, &answer).await
}

async fn holders(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let role: RoleId = id_in_path(&cx, "id")?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| {
        Ok(match queries::role(tx, role)? {
            Some(_) => Some(queries::list_holdings(tx, role, &window)?),
            None => None,
        })
    });
    let page = page.await?.flatten().ok_or_else(Problem::not_found)?;
    Ok(Reply::page(page.map(|holding| {
        json!({ "subject": holding.subject, "expires_at": holding.expires.map(|at| at.to_string()) })
    })))
}

fn read_holder(fields: &mut Fields) -> Option<(Subject, Option<Millis>)> {
    let subject = fields.required("subject", subject());
    let expires = fields.optional("expires_at", value::moment());
    Some((subject?, expires))
}

async fn give(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let role = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let holder = read_holder(&mut fields);
    fields.finish()?;
    let (subject, expires) = holder.ok_or_else(Problem::not_found)?;
    let give = GiveRole { holding: Holding { role, subject, expires } };
    let answer = cx.cluster.propose(&cx.ticket, org, &give).await?;
    cx.cluster.await_view(&View::Session(Some(answer.index))).await?;
    let view = json!({ "subject": subject, "expires_at": expires.map(|at| at.to_string()) });
    Ok(Reply::ok(view).after(&answer))
}

async fn take(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::RoleManage).await?;
    let take = TakeRole { role: id_in_path(&cx, "id")?, subject: id_in_path(&cx, "subject")? };
    let answer = cx.cluster.propose(&cx.ticket, org, &take).await?;
    gone(&cx, &answer).await
}
