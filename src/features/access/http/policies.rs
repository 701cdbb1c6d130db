//! Policies in Cedar.

use serde_json::json;

use super::{gone, id_in_path, view};
use crate::{
    cluster::View,
    features::access::{
        DeletePolicy, SavePolicy,
        model::{Policy, TEXT_BYTES_MAX, scope},
        queries,
    },
    kernel::{OrgId, Permission, PolicyId},
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

const ALL: &str = "/organizations/{org}/policies";
const ONE: &str = "/organizations/{org}/policies/{id}";

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    let nobody = PolicyId(uuid::Uuid::nil());
    vec![
        Route::v2(Method::Get, ALL, "listPolicies", "List policies", caller, |cx| Box::pin(list(cx)))
            .asks(QueryFields::window),
        Route::v2(Method::Post, ALL, "createPolicy", "Write a policy in Cedar", caller, |cx| {
            Box::pin(create(cx))
        })
        .takes(move |fields| read_policy(fields, nobody))
        .creates(),
        Route::v2(Method::Get, ONE, "getPolicy", "Show a policy", caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Put, ONE, "updatePolicy", "Write a policy anew", caller, |cx| Box::pin(change(cx)))
            .takes(move |fields| read_policy(fields, nobody)),
        Route::v2(Method::Delete, ONE, "deletePolicy", "Take a policy back", caller, |cx| {
            Box::pin(delete(cx))
        }),
    ]
}

/// Reads a policy; its text is judged here in detail, and in apply again.
pub(super) fn read_policy(fields: &mut Fields, id: PolicyId) -> Option<Policy> {
    let name = fields.required("name", value::text(100));
    let describe = || {
        json!({
            "type": "string",
            "maxLength": TEXT_BYTES_MAX,
            "examples": ["forbid (principal, action == Action::\"export\", resource is Data) unless { context has mfa && context.mfa };"],
        })
    };
    let text = fields.required(
        "text",
        value::rule(describe, move |text| {
            let text = text.as_str().ok_or_else(|| "must be the text of one Cedar policy".to_owned())?;
            let policy = Policy { id, name: String::new(), text: text.to_owned() };
            scope(&policy).map(|_| policy.text)
        }),
    );
    Some(Policy { id, name: name?, text: text? })
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::PolicyManage).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| queries::list_policies(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|stored| view(&stored))))
}

async fn one(cx: &Cx, view_of: &View, org: OrgId, id: PolicyId) -> Result<Reply, Problem> {
    let stored = cx.cluster.read(view_of, org, move |tx| queries::policy(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored)).etag(stored.version))
}

async fn create(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::PolicyManage).await?;
    let mut fields = cx.fields()?;
    let policy = read_policy(&mut fields, PolicyId(cx.mint_id()));
    fields.finish()?;
    let policy = policy.ok_or_else(Problem::not_found)?;
    let save = SavePolicy { policy, new: true, if_version: None };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    let id = answer.reply.id;
    let reply = one(&cx, &View::Session(Some(answer.index)), org, id).await?;
    let location = format!("/api/v2/organizations/{org}/policies/{id}");
    Ok(reply.status(201).header("location", location).after(&answer))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::PolicyManage).await?;
    one(&cx, &cx.view, org, id_in_path(&cx, "id")?).await
}

async fn change(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::PolicyManage).await?;
    let id: PolicyId = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let policy = read_policy(&mut fields, id);
    fields.finish()?;
    let policy = policy.ok_or_else(Problem::not_found)?;
    let save = SavePolicy { policy, new: false, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, org, &save).await?;
    Ok(one(&cx, &View::Session(Some(answer.index)), org, id).await?.after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::PolicyManage).await?;
    let policy = id_in_path(&cx, "id")?;
    let answer =
        cx.cluster.propose(&cx.ticket, org, &DeletePolicy { policy, if_version: cx.if_match }).await?;
    gone(&cx, &answer).await
}
