//! Routes of quotas, usage and utilization.

use serde_json::{Map, Value, json};

use super::{
    ReportUsage,
    model::{Allowance, Resource, Stretch},
    queries,
};
use crate::{
    kernel::{OrgId, Permission},
    web::{Cx, Fields, Method, Needs, Problem, QueryFields, Reply, Route, Version, value},
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
        .and_v1("/phase7/organizations/{org}/quotas")
        .asks(read_check),
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
        .and_v1("/phase7/organizations/{org}/usage")
        .takes(read_report),
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
    let (resource, amount) = read_check(&mut query);
    query.finish()?;
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
    let asked = read_report(&mut fields);
    fields.finish()?;
    let ReportUsage { resource, amount } = asked.ok_or_else(Problem::not_found)?;
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
        Version::V2 | Version::Bare => resource.name(),
    }
}

fn read_check(query: &mut QueryFields) -> (Option<Resource>, i64) {
    let resource = query.parsed("resource", value::rule(|| describe(|_| true), parse_resource));
    (resource, query.parsed("amount", value::number(0, i64::MAX)).unwrap_or(1))
}

fn read_report(fields: &mut Fields) -> Option<ReportUsage> {
    let reportable = value::rule(
        || describe(Resource::is_reportable),
        |given| {
            let resource = parse_resource(given)?;
            if resource.is_reportable() { Ok(resource) } else { Err("is measured by the server".to_owned()) }
        },
    );
    let resource = fields.required("resource", reportable);
    let amount = fields.required("amount", value::integer(-1_000_000_000, 1_000_000_000));
    Some(ReportUsage { resource: resource?, amount: amount? })
}

fn parse_resource(given: &Value) -> Result<Resource, String> {
    let resource = given.as_str().and_then(Resource::parse);
    resource.ok_or_else(|| format!("must be one of {}", names(|_| true).join(", ")))
}

fn describe(which: impl Fn(Resource) -> bool) -> Value {
    json!({ "type": "string", "enum": names(which) })
}

fn names(which: impl Fn(Resource) -> bool) -> Vec<&'static str> {
    Resource::ALL.into_iter().filter(|resource| which(*resource)).map(Resource::quota_name).collect()
}
