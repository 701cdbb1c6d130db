//! Routes of quotas, usage and utilization.

use serde_json::{Map, Value, json};

use super::{
    ReportUsage,
    model::{Allowance, Resource, Stretch},
    queries,
};
use crate::{
    kernel::{OrgId, Permission},
    web::{Cx, Method, Needs, Problem, Reply, Route, Version, value},
};

/// Routes of the slice.
pub fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/organizations/{org}/quotas",
            "getQuotas",
            "Check quotas",
            Needs::Caller,
            |cx| Box::pin(check(cx)),
        )
        .and_v1("/phase7/organizations/{org}/quotas"),
        Route::v2(
            Method::Get,
            "/organizations/{org}/stats",
            "getStats",
            "Usage of all quotas",
            Needs::Caller,
            |cx| Box::pin(stats(cx)),
        )
        .and_v1("/phase7/organizations/{org}/stats"),
        Route::v2(
            Method::Post,
            "/organizations/{org}/usage",
            "reportUsage",
            "Report usage",
            Needs::Caller,
            |cx| Box::pin(report(cx)),
        )
        .and_v1("/phase7/organizations/{org}/usage"),
    ]
}

/// All quotas by name; -1 is unlimited.
pub fn quotas_view(allowances: &[Allowance]) -> Value {
    by_name(allowances, |one| (one.resource.name(), json!(one.quota)))
}

/// All usage counters by name. Storage is in gigabytes with a fraction.
pub fn usage_view(allowances: &[Allowance]) -> Value {
    let counted = allowances.iter().filter(|one| one.resource.stretch() != Stretch::Minute);
    Value::Object(counted.map(|one| (one.resource.usage_name().to_owned(), used(one))).collect())
}

fn used(one: &Allowance) -> Value {
    if one.resource.scale() == 1 {
        return json!(one.used());
    }
    // For people: shown at the edge, never stored or compared.
    #[allow(clippy::cast_precision_loss)]
    let gigabytes = (one.used() / 1_000_000) as f64 / 1_000.0;
    json!(gigabytes)
}

fn by_name(allowances: &[Allowance], show: impl Fn(&Allowance) -> (&'static str, Value)) -> Value {
    let fields = allowances.iter().map(show).map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}

async fn read(cx: &Cx, organization: OrgId) -> Result<Vec<Allowance>, Problem> {
    let now = cx.now;
    let found = cx.cluster.read(&cx.view, organization, move |tx| queries::allowances(tx, now)).await?;
    found.ok_or_else(Problem::not_found)
}

async fn check(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationRead).await?;
    let mut query = cx.query();
    let resource = query.parse_as("resource", parse_resource);
    let amount = query.parse_as("amount", |text| match text.parse::<i64>() {
        Ok(amount) if amount >= 0 => Ok(amount),
        _ => Err("must be a whole number from 0".to_owned()),
    });
    query.finish()?;
    let amount = amount.unwrap_or(1);
    let allowances = read(&cx, organization).await?;
    let scaled = |one: &Allowance| json!(one.check(amount.saturating_mul(one.resource.scale())));
    let view = match resource {
        Some(resource) => {
            allowances.iter().find(|one| one.resource == resource).map(scaled).unwrap_or_default()
        }
        None => by_name(&allowances, |one| (name_in(cx.version, one.resource), scaled(one))),
    };
    Ok(Reply::ok(view))
}

async fn stats(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::OrganizationRead).await?;
    cx.query().finish()?;
    let allowances = read(&cx, organization).await?;
    let warnings: Vec<Value> = allowances
        .iter()
        .filter(|one| one.threshold() > 0 && one.resource.stretch() != Stretch::Ceiling)
        .map(|one| {
            let resource = name_in(cx.version, one.resource);
            json!({ "resource": resource, "threshold": one.threshold(), "usage": one.usage(), "quota": one.quota })
        })
        .collect();
    let view = json!({
        "quotas": quotas_view(&allowances),
        "usage": usage_view(&allowances),
        "utilization": by_name(&allowances, |one| (one.resource.name(), json!(one.percent()))),
        "warnings": warnings,
    });
    Ok(Reply::ok(cx.version.view(view)))
}

async fn report(cx: Cx) -> Result<Reply, Problem> {
    let organization = cx.place(Permission::UsageReport).await?;
    let mut fields = cx.fields()?;
    let resource = fields.required("resource", |given| {
        let resource = parse_resource(given.as_str().unwrap_or_default())?;
        if resource.is_reportable() { Ok(resource) } else { Err("is measured by the server".to_owned()) }
    });
    let amount = fields.required("amount", value::integer(-1_000_000_000, 1_000_000_000));
    fields.finish()?;
    let (Some(resource), Some(amount)) = (resource, amount) else { return Err(Problem::not_found()) };
    if amount < 0 && resource.stretch() != Stretch::Gauge {
        return Err(Problem::field(
            "/amount",
            "may be negative for gauges only; what happened cannot be undone",
        ));
    }
    let answer = cx.cluster.propose(&cx.ticket, organization, &ReportUsage { resource, amount }).await?;
    let name = name_in(cx.version, resource);
    let view = json!({ "resource": name, "usage": answer.reply.usage(), "quota": answer.reply.quota });
    Ok(Reply::ok(view).after(&answer))
}

fn name_in(version: Version, resource: Resource) -> &'static str {
    match version {
        Version::V1 => resource.quota_name(),
        Version::V2 => resource.name(),
    }
}

fn parse_resource(name: &str) -> Result<Resource, String> {
    Resource::parse(name).ok_or_else(|| {
        let names: Vec<_> = Resource::ALL.iter().map(|resource| resource.quota_name()).collect();
        format!("must be one of {}", names.join(", "))
    })
}
