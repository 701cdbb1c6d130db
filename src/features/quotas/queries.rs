//! Reading plans and usage.

use rusqlite::Connection;

use super::model::{Allowance, Plan, Resource, Stretch};
use crate::kernel::{Fault, Millis, Overage};

/// The organization's plan.
pub fn plan(tx: &Connection) -> Result<Plan, Fault> {
    let name: String = tx.prepare_cached(PLAN)?.query_row([], |row| row.get(0))?;
    named(&name)
}

fn named(plan: &str) -> Result<Plan, Fault> {
    plan.parse().map_err(|()| Fault::found(format!("the profile names an unknown plan {plan:?}")))
}

/// Usage and limit of one resource at a moment.
pub fn allowance(tx: &Connection, resource: Resource, at: Millis) -> Result<Allowance, Fault> {
    counter(tx, resource, at).map(|(allowance, _)| allowance)
}

/// The same, and the highest threshold already raised in the period.
pub(super) fn counter(tx: &Connection, resource: Resource, at: Millis) -> Result<(Allowance, i64), Fault> {
    if resource.stretch() == Stretch::Ceiling {
        let quota = plan(tx)?.limit(resource);
        let counted = tx.prepare_cached(RETENTION)?.query_row([], |row| row.get(0))?;
        return Ok((Allowance { resource, counted, reported: 0, quota }, 0));
    }
    // One statement for all: this is read for every write that a quota covers.
    let key = (resource.name(), resource.period(at).0);
    let (plan, counted, reported, raised) = tx
        .prepare_cached(PLAN_AND_USAGE)?
        .query_row(key, |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    Ok((Allowance { resource, counted, reported, quota: named(&plan)?.limit(resource) }, raised))
}

/// All sixteen, in the order of the plan table.
pub fn allowances(tx: &Connection, at: Millis) -> Result<Vec<Allowance>, Fault> {
    Resource::ALL.into_iter().map(|resource| allowance(tx, resource, at)).collect()
}

/// The quotas of `plan` that present use exceeds.
pub fn overages(tx: &Connection, plan: Plan, at: Millis) -> Result<Vec<Overage>, Fault> {
    let over = |now: Allowance| {
        let then = Allowance { quota: plan.limit(now.resource), ..now };
        let exceeds = then.limit().is_some_and(|limit| then.used() > limit);
        let resource = now.resource.quota_name().to_owned();
        exceeds.then_some(Overage { resource, usage: then.usage(), quota: then.quota })
    };
    Ok(allowances(tx, at)?.into_iter().filter_map(over).collect())
}

const PLAN: &str = "SELECT plan FROM organizations_profile WHERE one = 1";
const RETENTION: &str =
    "SELECT json_extract(details, '$.retention_days') FROM organizations_profile WHERE one = 1";
const PLAN_AND_USAGE: &str =
    "SELECT plan, coalesce(counted, 0), coalesce(reported, 0), coalesce(warned, 0) FROM organizations_profile
    LEFT JOIN quotas_usage ON resource = ?1 AND period = ?2 WHERE one = 1";
