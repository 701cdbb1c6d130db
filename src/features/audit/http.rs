//! Routes of the audit trail. Reading it is a feature of the plan; writing it is not.

use serde_json::{Value, json};

use super::queries::{self, Event, Filter};
use crate::{
    features::quotas::{self, model::Feature},
    kernel::{OrgId, Permission, Refusal, Window, to_hex},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route, Version, value},
};

/// Routes of the slice.
pub fn routes() -> Vec<Route> {
    let list_of_org = "/organizations/{org}/audit-events";
    vec![
        Route::v2(Method::Get, list_of_org, "listAuditEvents", "List audit events", Needs::Caller, |cx| {
            Box::pin(async move {
                let organization = cx.place(Permission::AuditLogRead).await?;
                list(cx, organization).await
            })
        })
        .asks(read_list),
        Route::v2(
            Method::Get,
            "/organizations/{org}/audit-events/{id}",
            "getAuditEvent",
            "Show an audit event",
            Needs::Caller,
            |cx| {
                Box::pin(async move {
                    let organization = cx.place(Permission::AuditLogRead).await?;
                    show(cx, organization).await
                })
            },
        ),
        Route::v1(
            Method::Get,
            "/phase7/audit-logs",
            "listAuditLogs",
            "List audit entries",
            Needs::Caller,
            |cx| {
                Box::pin(async move {
                    let organization = cx.place_of("me", Permission::AuditLogRead).await?;
                    list(cx, organization).await
                })
            },
        )
        .asks(read_list),
        Route::v1(
            Method::Get,
            "/phase7/audit-logs/{id}",
            "getAuditLog",
            "Show an audit entry",
            Needs::Caller,
            |cx| {
                Box::pin(async move {
                    let organization = cx.place_of("me", Permission::AuditLogRead).await?;
                    show(cx, organization).await
                })
            },
        ),
    ]
}

async fn list(cx: Cx, organization: OrgId) -> Result<Reply, Problem> {
    let mut query = cx.query();
    let (filter, window) = read_list(&mut query);
    query.finish()?;
    let page = cx.cluster.read(&cx.view, organization, move |tx| {
        if let Some(refusal) = missing_feature(tx, organization)? {
            return Ok(Err(refusal));
        }
        Ok(Ok(queries::list(tx, &filter, &window)?))
    });
    let page = page.await?.ok_or_else(Problem::not_found)??;
    Ok(Reply::page(page.map(|event| view(&event, cx.version))))
}

async fn show(cx: Cx, organization: OrgId) -> Result<Reply, Problem> {
    let id = cx.param("id").to_owned();
    let event = cx.cluster.read(&cx.view, organization, move |tx| {
        if let Some(refusal) = missing_feature(tx, organization)? {
            return Ok(Err(refusal));
        }
        Ok(Ok(queries::find(tx, &id)?))
    });
    let event = event.await?.ok_or_else(Problem::not_found)??.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&event, cx.version)))
}

/// The installation's own trail belongs to no plan.
fn missing_feature(
    tx: &rusqlite::Connection,
    organization: OrgId,
) -> Result<Option<Refusal>, crate::kernel::Fault> {
    if organization.is_system() {
        return Ok(None);
    }
    let plan = quotas::plan(tx)?;
    let refusal = || Refusal::FeatureNotInPlan {
        feature: Feature::AUDIT_LOGS.name.to_owned(),
        plan: plan.name().to_owned(),
    };
    Ok((!plan.includes(Feature::AUDIT_LOGS)).then(refusal))
}

fn read_list(query: &mut QueryFields) -> (Filter, Window) {
    let filter = Filter {
        from_ms: query.parsed("from", value::moment()).map(|at| at.0),
        to_ms: query.parsed("to", value::moment()).map(|at| at.0),
        user_id: query.text("user_id"),
        action: query.text("action"),
        resource_type: query.text("resource_type"),
        resource_id: query.text("resource_id"),
        text: query.text("q"),
    };
    (filter, query.window())
}

/// v2 shows the leaf as it is hashed, the chain after it, and the personal fields beside it; v1 shows what its clients know.
fn view(event: &Event, version: Version) -> Value {
    let (leaf, personal) = (&event.leaf, &event.personal);
    if version == Version::V2 {
        return json!({ "event": leaf, "chain": to_hex(&event.chain), "personal": personal });
    }
    let of = |pointer: &str| leaf.pointer(pointer).cloned().unwrap_or_default();
    let aside =
        |name: &str| personal.as_ref().and_then(|fields| fields.get(name)).cloned().unwrap_or_default();
    json!({
        "id": of("/id"),
        "organization_id": of("/organization"),
        "user_id": of("/actor/id"),
        "action": of("/action"),
        "resource_type": of("/resource/type"),
        "resource_id": of("/resource/id"),
        "details": { "outcome": of("/outcome"), "reason": of("/reason"), "changes": of("/changes") },
        "ip_address": aside("ip_address"),
        "user_agent": aside("user_agent"),
        "created_at": of("/at"),
    })
}
