//! Reading plans and usage.

use rusqlite::{Connection, OptionalExtension};

use super::model::{Allowance, Plan, Resource, Stretch};
use crate::kernel::{Fault, Millis, Overage};

/// The organization's plan.
pub fn plan(tx: &Connection) -> Result<Plan, Fault> {
    let name: String = tx.prepare_cached(PLAN)?.query_row([], |row| row.get(0))?;
    name.parse().map_err(|()| Fault::found(format!("the profile names an unknown plan {name:?}")))
}

/// Usage and limit of one resource at a moment.
pub fn allowance(tx: &Connection, resource: Resource, at: Millis) -> Result<Allowance, Fault> {
    let quota = plan(tx)?.limit(resource);
    if resource.stretch() == Stretch::Ceiling {
        let counted = tx.prepare_cached(RETENTION)?.query_row([], |row| row.get(0))?;
        return Ok(Allowance { resource, counted, reported: 0, quota });
    }
    let used: Option<(i64, i64)> = tx
        .prepare_cached(USAGE)?
        .query_row((resource.name(), resource.period(at).0), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (counted, reported) = used.unwrap_or_default();
    Ok(Allowance { resource, counted, reported, quota })
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

/// The highest threshold already raised for a resource in a period.
pub(super) fn warned(tx: &Connection, resource: Resource, at: Millis) -> Result<i64, Fault> {
    let key = (resource.name(), resource.period(at).0);
    Ok(tx.prepare_cached(WARNED)?.query_row(key, |row| row.get(0)).optional()?.unwrap_or(0))
}

const PLAN: &str = "SELECT plan FROM organizations_profile WHERE one = 1";
const RETENTION: &str =
    "SELECT json_extract(details, '$.retention_days') FROM organizations_profile WHERE one = 1";
const USAGE: &str = "SELECT counted, reported FROM quotas_usage WHERE resource = ?1 AND period = ?2";
const WARNED: &str = "SELECT warned FROM quotas_usage WHERE resource = ?1 AND period = ?2";
