//! Groups, and who is in them.

use serde_json::json;

use super::{body::read_group, gone, id_in_path, view};
use crate::{
    cluster::View,
    features::access::{DeleteGroup, SaveGroup, SetMember, queries},
    kernel::{GroupId, OrgId, Permission},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

const ALL: &str = "/organizations/{org}/groups";
const ONE: &str = "/organizations/{org}/groups/{id}";
const MEMBERS: &str = "/organizations/{org}/groups/{id}/members";
const MEMBER: &str = "/organizations/{org}/groups/{id}/members/{user}";

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    let nobody = GroupId(uuid::Uuid::nil());
    vec![
        Route::v2(Method::Get, ALL, "listGroups", "List groups", caller, |cx| Box::pin(list(cx)))
            .asks(QueryFields::window),
        Route::v2(Method::Post, ALL, "createGroup", "Define a group", caller, |cx| Box::pin(create(cx)))
            .takes(move |fields| read_group(fields, nobody))
            .creates(),
        Route::v2(Method::Get, ONE, "getGroup", "Show a group", caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Put, ONE, "updateGroup", "Rename a group", caller, |cx| Box::pin(change(cx)))
            .takes(move |fields| read_group(fields, nobody)),
        Route::v2(
            Method::Delete,
            ONE,
            "deleteGroup",
            "Delete a group that no rule refers to",
            caller,
            |cx| Box::pin(delete(cx)),
        ),
        Route::v2(Method::Get, MEMBERS, "listGroupMembers", "List who is in a group", caller, |cx| {
            Box::pin(members(cx))
        })
        .asks(QueryFields::window),
        Route::v2(Method::Put, MEMBER, "addGroupMember", "Put a user into a group", caller, |cx| {
            Box::pin(set_member(cx, true))
        }),
        Route::v2(Method::Delete, MEMBER, "removeGroupMember", "Take a user out of a group", caller, |cx| {
            Box::pin(set_member(cx, false))
        }),
    ]
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| queries::list_groups(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|stored| view(&stored))))
}

async fn one(cx: &Cx, view_of: &View, org: OrgId, id: GroupId) -> Result<Reply, Problem> {
    let stored = cx.cluster.read(view_of, org, move |tx| queries::group(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored)).etag(stored.version))
}

async fn create(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let mut fields = cx.fields()?;
    let group = read_group(&mut fields, GroupId(cx.mint_id()));
    fields.finish()?;
    let group = group.ok_or_else(Problem::not_found)?;
    let save = SaveGroup { group, new: true, if_version: None };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    let id = answer.reply.id;
    let reply = one(&cx, &View::Session(Some(answer.index)), org, id).await?;
    let location = format!("/api/v2/organizations/{org}/groups/{id}");
    Ok(reply.status(201).header("location", location).after(&answer))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    one(&cx, &cx.view, org, id_in_path(&cx, "id")?).await
}

async fn change(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let id: GroupId = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let group = read_group(&mut fields, id);
    fields.finish()?;
    let group = group.ok_or_else(Problem::not_found)?;
    let save = SaveGroup { group, new: false, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    Ok(one(&cx, &View::Session(Some(answer.index)), org, id).await?.after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let group = id_in_path(&cx, "id")?;
    let answer = cx.cluster.propose(&cx.ticket, org, &DeleteGroup { group, if_version: cx.if_match }).await?;
    gone(&cx, &answer).await
}

async fn members(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let id: GroupId = id_in_path(&cx, "id")?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| {
        Ok(match queries::group(tx, id)? {
            Some(_) => Some(queries::list_members(tx, id, &window)?),
            None => None,
        })
    });
    let page = page.await?.flatten().ok_or_else(Problem::not_found)?;
    Ok(Reply::page(page.map(|user| json!({ "user": user }))))
}

async fn set_member(cx: Cx, present: bool) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GroupManage).await?;
    let set = SetMember { group: id_in_path(&cx, "id")?, user: id_in_path(&cx, "user")?, present };
    let answer = cx.cluster.propose(&cx.ticket, org, &set).await?;
    gone(&cx, &answer).await
}
