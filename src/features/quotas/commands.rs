//! Taking, giving back, reporting, leasing.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    model::{Allowance, Resource},
    queries,
};
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    kernel::{Fault, Millis, Permission, Refusal},
    store::Stop,
};

/// Takes `amount` (not negative) of `resource` for rows that the calling command writes, or refuses.
pub fn take(cx: &mut Apply<'_>, resource: Resource, amount: i64) -> Result<Allowance, Stop> {
    let (before, raised) = queries::counter(cx.tx, resource, cx.at)?;

    before.require(amount)?;
    let after = Allowance { counted: before.counted.saturating_add(amount), ..before };

    write(cx, &after)?;
    warn(cx, &after, raised)?;
    Ok(after)
}

/// Gives back `amount` of a gauge for rows that the calling command deletes.
pub fn give_back(cx: &mut Apply<'_>, resource: Resource, amount: i64) -> Result<Allowance, Stop> {
    let (before, raised) = queries::counter(cx.tx, resource, cx.at)?;

    let after = Allowance { counted: before.counted.saturating_sub(amount), ..before };

    write(cx, &after)?;
    warn(cx, &after, raised)?;
    Ok(after)
}

/// Another service of the platform reports that it used (or released) some of a resource.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportUsage {
    /// The resource.
    pub resource: Resource,
    /// How much more is used; negative releases what was reported before.
    pub amount: i64,
}

impl Command for ReportUsage {
    const KIND: Kind = Kind::new("quotas.report_usage", 1);
    const NEEDS: Permission = Permission::UsageReport;
    type Reply = Allowance;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Allowance, Stop> {
        let (before, raised) = queries::counter(cx.tx, self.resource, cx.at)?;

        let after = reported(&before, self.amount)?;

        write(cx, &after)?;

        let change = json!({ "amount": self.amount, "usage": [before.usage(), after.usage()] });
        cx.note("quota", self.resource.quota_name(), change);
        warn(cx, &after, raised)?;
        Ok(after)
    }
}

fn reported(before: &Allowance, amount: i64) -> Result<Allowance, Refusal> {
    if amount > 0 {
        before.require(amount)?;
    }
    let reported = before.reported.saturating_add(amount);
    if reported < 0 {
        return Err(Refusal::UsageBelowZero {
            resource: before.resource.quota_name().to_owned(),
            usage: before.reported,
            requested: amount,
        });
    }
    Ok(Allowance { reported, ..*before })
}

/// The leader measured the organization's file.
#[derive(Debug, Serialize, Deserialize)]
pub struct MeasureStorage {
    /// Its size: pages times page size.
    pub bytes: i64,
}

impl Command for MeasureStorage {
    const KIND: Kind = Kind::new("quotas.measure_storage", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = Allowance;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Allowance, Stop> {
        let (before, raised) = queries::counter(cx.tx, Resource::MaxStorageGb, cx.at)?;

        let after = Allowance { counted: self.bytes, ..before };

        write(cx, &after)?;
        warn(cx, &after, raised)?;
        Ok(after)
    }
}

/// A node asks for permits to answer API calls of this minute and day.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeaseCalls {
    /// How many it would like.
    pub wanted: i64,
}

/// What a node may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLease {
    /// Calls it may answer in the minute of `at`.
    pub granted: i64,
    /// Whether the plan has neither limit: calls are then only counted.
    pub unlimited: bool,
    /// The quota per minute; -1 is unlimited.
    pub per_minute: i64,
    /// What is left of the minute after this lease, over all nodes.
    pub minute_left: i64,
    /// What is left of the day after this lease, over all nodes.
    pub day_left: i64,
    /// When it was granted.
    pub at: Millis,
}

impl Command for LeaseCalls {
    const KIND: Kind = Kind::new("quotas.lease_calls", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = CallLease;

    fn apply(self, cx: &mut Apply<'_>) -> Result<CallLease, Stop> {
        let minute = queries::allowance(cx.tx, Resource::MaxApiCallsPerMinute, cx.at)?;
        let day = queries::allowance(cx.tx, Resource::MaxApiCallsPerDay, cx.at)?;

        let unlimited = minute.left().is_none() && day.left().is_none();
        let left = |allowance: &Allowance| allowance.left().unwrap_or(i64::MAX);
        let granted = if unlimited { 0 } else { self.wanted.clamp(0, left(&minute).min(left(&day))) };

        count_calls(cx, granted)?;
        let (minute_left, day_left) = (left(&minute) - granted, left(&day) - granted);
        Ok(CallLease { granted, unlimited, per_minute: minute.quota, minute_left, day_left, at: cx.at })
    }
}

/// A node counts calls that needed no permit.
#[derive(Debug, Serialize, Deserialize)]
pub struct CountCalls {
    /// How many it answered since it last counted.
    pub calls: i64,
}

impl Command for CountCalls {
    const KIND: Kind = Kind::new("quotas.count_calls", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        count_calls(cx, self.calls)
    }
}

fn count_calls(cx: &mut Apply<'_>, calls: i64) -> Result<(), Stop> {
    for resource in [Resource::MaxApiCallsPerMinute, Resource::MaxApiCallsPerDay] {
        let before = queries::allowance(cx.tx, resource, cx.at)?;
        write(cx, &Allowance { counted: before.counted.saturating_add(calls), ..before })?;
    }
    // A minute's counter is of no use after it, and there are 1,440 of them a day.
    cx.tx.prepare_cached(FORGET)?.execute((Resource::MaxApiCallsPerMinute.name(), cx.at.minute().0))?;
    Ok(())
}

fn write(cx: &mut Apply<'_>, after: &Allowance) -> Result<(), Stop> {
    let row = (after.resource.name(), after.resource.period(cx.at).0, after.counted, after.reported);
    cx.tx.prepare_cached(UPSERT)?.execute(row)?;
    Ok(())
}

/// Raises a warning event once per crossing of a threshold and period; falling below arms it again.
fn warn(cx: &mut Apply<'_>, after: &Allowance, raised: i64) -> Result<(), Stop> {
    let reached = after.threshold();
    if reached == raised {
        return Ok(());
    }
    cx.tx.prepare_cached(WARN)?.execute((after.resource.name(), after.resource.period(cx.at).0, reached))?;
    if reached > raised {
        let change = json!({ "percent": reached, "usage": after.usage(), "quota": after.quota });
        cx.note_also("quotas.warning", "quota", after.resource.quota_name(), change);
    }
    Ok(())
}

/// Gives a file that was made from a backup what the one whose place it takes knows of use: what happened in a period
/// happened, and what other services reported is theirs to take back. What is counted from rows comes with the rows.
pub fn keep_use(restored: &Connection, present: &Connection) -> Result<(), Fault> {
    restored.execute_batch(FORGET_USE)?;
    let mut reading = present.prepare(USE)?;
    let mut rows = reading.query([])?;
    while let Some(row) = rows.next()? {
        let row: (String, String, i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        restored.prepare_cached(KEEP_USE)?.execute(row)?;
    }
    Ok(())
}

/// Says how much of a gauge is used, in a file that nobody is answered from yet.
pub fn recount(tx: &Connection, resource: Resource, counted: i64) -> Result<(), Fault> {
    tx.prepare_cached(RECOUNT)?.execute((resource.name(), counted))?;
    Ok(())
}

const FORGET_USE: &str =
    "DELETE FROM quotas_usage WHERE period <> ''; UPDATE quotas_usage SET reported = 0, warned = 0;";
const USE: &str = "SELECT resource, period, CASE period WHEN '' THEN 0 ELSE counted END, reported, warned FROM quotas_usage";
const KEEP_USE: &str =
    "INSERT INTO quotas_usage (resource, period, counted, reported, warned) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (resource, period) DO UPDATE SET reported = excluded.reported, warned = excluded.warned";
const RECOUNT: &str = "UPDATE quotas_usage SET counted = ?2 WHERE resource = ?1 AND period = ''";
const UPSERT: &str = "INSERT INTO quotas_usage (resource, period, counted, reported) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (resource, period) DO UPDATE SET counted = excluded.counted, reported = excluded.reported";
const WARN: &str = "UPDATE quotas_usage SET warned = ?3 WHERE resource = ?1 AND period = ?2";
const FORGET: &str = "DELETE FROM quotas_usage WHERE resource = ?1 AND period <> ?2";
