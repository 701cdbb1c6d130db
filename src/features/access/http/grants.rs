//! Direct grants and denials.

use super::{body::read_grant, gone, id_in_path, view};
use crate::{
    cluster::View,
    features::access::{DeleteGrant, SaveGrant, queries},
    kernel::{GrantId, OrgId, Permission},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route},
};

const ALL: &str = "/organizations/{org}/grants";
const ONE: &str = "/organizations/{org}/grants/{id}";

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    let nobody = GrantId(uuid::Uuid::nil());
    vec![
        Route::v2(Method::Get, ALL, "listGrants", "List grants and denials", caller, |cx| Box::pin(list(cx)))
            .asks(QueryFields::window),
        Route::v2(Method::Post, ALL, "createGrant", "Grant or deny", caller, |cx| Box::pin(create(cx)))
            .takes(move |fields| read_grant(fields, nobody))
            .creates(),
        Route::v2(Method::Get, ONE, "getGrant", "Show a grant or a denial", caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Put, ONE, "updateGrant", "Grant or deny anew", caller, |cx| Box::pin(change(cx)))
            .takes(move |fields| read_grant(fields, nobody)),
        Route::v2(Method::Delete, ONE, "deleteGrant", "Take a grant or a denial back", caller, |cx| {
            Box::pin(delete(cx))
        }),
    ]
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GrantManage).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| queries::list_grants(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|stored| view(&stored))))
}

async fn one(cx: &Cx, view_of: &View, org: OrgId, id: GrantId) -> Result<Reply, Problem> {
    let stored = cx.cluster.read(view_of, org, move |tx| queries::grant(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored)).etag(stored.version))
}

async fn create(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GrantManage).await?;
    let mut fields = cx.fields()?;
    let grant = read_grant(&mut fields, GrantId(cx.mint_id()));
    fields.finish()?;
    let grant = grant.ok_or_else(Problem::not_found)?;
    let save = SaveGrant { grant, new: true, if_version: None };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    let id = answer.reply.id;
    let reply = one(&cx, &View::Session(Some(answer.index)), org, id).await?;
    let location = format!("/api/v2/organizations/{org}/grants/{id}");
    Ok(reply.status(201).header("location", location).after(&answer))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GrantManage).await?;
    one(&cx, &cx.view, org, id_in_path(&cx, "id")?).await
}

async fn change(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GrantManage).await?;
    let id: GrantId = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let grant = read_grant(&mut fields, id);
    fields.finish()?;
    let grant = grant.ok_or_else(Problem::not_found)?;
    let save = SaveGrant { grant, new: false, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    Ok(one(&cx, &View::Session(Some(answer.index)), org, id).await?.after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::GrantManage).await?;
    let grant = id_in_path(&cx, "id")?;
    let answer = cx.cluster.propose(&cx.ticket, org, &DeleteGrant { grant, if_version: cx.if_match }).await?;
    gone(&cx, &answer).await
}
