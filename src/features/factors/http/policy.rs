//! Routes: what an organization asks of its members.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    cluster::View,
    features::factors::{
        SetMfaPolicy,
        model::{GRACE_DAYS_MAX, Level, Policy, Rule},
        queries,
    },
    kernel::{OrgId, Permission, Role},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

pub(super) fn routes() -> Vec<Route> {
    let path = "/organizations/{org}/mfa-policy";
    vec![
        Route::v2(Method::Get, path, "getMfaPolicy", "Show what is asked of members", Needs::Caller, |cx| {
            Box::pin(show(cx))
        }),
        Route::v2(Method::Put, path, "setMfaPolicy", "Set what is asked of members", Needs::Caller, |cx| {
            Box::pin(set(cx))
        })
        .takes(read_policy),
    ]
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationRead).await?;
    let view = cx.view;
    answer(&cx, organization, &view).await
}

async fn answer(cx: &Cx, organization: OrgId, view: &View) -> Result<Reply, Problem> {
    // The system file has no profile, and no role but one.
    let of = if organization.is_system() { Role::PlatformAdmin } else { Role::Admin };
    let found = cx
        .cluster
        .read(view, organization, move |tx| Ok((queries::policy(tx)?, queries::require_mfa(tx, of)?)))
        .await?;
    let ((policy, version), require_mfa) = found.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(shown(&policy, require_mfa, of)).etag(version))
}

fn shown(policy: &Policy, require_mfa: bool, of: Role) -> Value {
    let belongs = |role: &&Role| (**role == Role::PlatformAdmin) == (of == Role::PlatformAdmin);
    let in_force: BTreeMap<&str, Rule> =
        Role::ALL.iter().filter(belongs).map(|role| (role.name(), policy.rule(*role, require_mfa))).collect();
    json!({
        "level": policy.default.level, "grace_days": policy.default.grace_days, "roles": policy.roles,
        "require_mfa": require_mfa, "in_force": in_force,
    })
}

fn read_policy(fields: &mut Fields) -> Option<Policy> {
    let default = read_rule(fields);
    let roles = fields.nested("roles", |inner| {
        let each = Role::NAMES
            .iter()
            .filter_map(|name| inner.nested(name, read_rule).map(|rule| ((*name).to_owned(), rule)));
        Some(each.collect())
    });
    for name in ["require_mfa", "in_force"] {
        fields.forbid(name, "follows from the organization's profile and from the rules");
    }
    Some(Policy { default: default?, roles: roles.unwrap_or_default() })
}

fn read_rule(fields: &mut Fields) -> Option<Rule> {
    let level = fields.required("level", value::word::<Level>(Level::NAMES));
    let grace_days = fields.optional("grace_days", value::integer(0, GRACE_DAYS_MAX));
    Some(Rule { level: level?, grace_days: grace_days.unwrap_or(Policy::default().default.grace_days) })
}

async fn set(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::SecurityManage).await?;
    let mut fields = cx.fields()?;
    let policy = read_policy(&mut fields);
    fields.finish()?;
    let policy = policy.ok_or_else(Problem::not_found)?;
    let command = SetMfaPolicy { if_version: cx.if_match, policy };
    let done = cx.cluster.propose(&cx.ticket, organization, &command).await?;
    Ok(answer(&cx, organization, &View::Session(Some(done.index))).await?.after(&done))
}
