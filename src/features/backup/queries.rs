//! Targets, the state, drills, restores.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde_json::Value;
use uuid::Uuid;

use super::{
    commands::{Ended, Progress},
    formats::Drill,
    model::{Policy, Until},
};
use crate::kernel::{Fault, Millis, OrgId};

/// What is backed up, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The present history.
    pub lineage: Uuid,
    /// The history that it was restored from, and the last entry of that one that it holds.
    pub restored: Option<(Uuid, u64)>,
    /// The recovery key, sealed for life.
    pub recovery: Vec<u8>,
    /// How.
    pub policy: Policy,
    /// Somebody asked for a drill that was not made yet.
    pub drill_wanted: Option<Millis>,
}

/// A target as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub settings: Value,
    /// What opens it, sealed for life.
    pub credentials: Option<Vec<u8>>,
    /// How far it is.
    pub progress: Progress,
    /// When that was said.
    pub said: Option<Millis>,
}

/// The names of all targets.
pub(super) fn target_names(tx: &Connection) -> Result<BTreeSet<String>, Fault> {
    let mut statement = tx.prepare_cached(NAMES)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What is backed up; `None` before the first target.
pub fn state(tx: &Connection) -> Result<Option<State>, Fault> {
    let Some(row) = tx.prepare_cached(STATE)?.query_row([], read_state).optional()? else { return Ok(None) };
    let lineage = |text: &String| text.parse::<Uuid>().map_err(|error| Fault::new("read a lineage", error));
    let from = row.from.as_ref().map(lineage).transpose()?;
    Ok(Some(State {
        lineage: lineage(&row.lineage)?,
        restored: from.zip(row.to.and_then(|to| u64::try_from(to).ok())),
        recovery: row.recovery,
        policy: json(&row.policy)?,
        drill_wanted: row.drill_wanted.map(Millis),
    }))
}

/// The row of the state.
struct StateRow {
    lineage: String,
    from: Option<String>,
    to: Option<i64>,
    recovery: Vec<u8>,
    policy: String,
    drill_wanted: Option<i64>,
}

fn read_state(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    Ok(StateRow {
        lineage: row.get(0)?,
        from: row.get(1)?,
        to: row.get(2)?,
        recovery: row.get(3)?,
        policy: row.get(4)?,
        drill_wanted: row.get(5)?,
    })
}

/// Every target, by name.
pub fn targets(tx: &Connection) -> Result<Vec<Target>, Fault> {
    let mut statement = tx.prepare_cached(TARGETS)?;
    let rows = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|(target, settings)| Ok(Target { settings: json(&settings)?, ..target })).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Target, String)> {
    let index =
        |column| Ok::<u64, rusqlite::Error>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default());
    let at = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Millis));
    let progress = Progress {
        archived: index(3)?,
        archived_at: at(4)?,
        cut: index(5)?,
        cut_at: at(6)?,
        failing: row.get(8)?,
    };
    let target =
        Target { name: row.get(0)?, settings: Value::Null, credentials: row.get(2)?, progress, said: at(7)? };
    Ok((target, row.get(1)?))
}

/// The newest drills, newest first, with when each was recorded.
pub fn drills(tx: &Connection, count: u32) -> Result<Vec<(Millis, Drill)>, Fault> {
    let mut statement = tx.prepare_cached(DRILLS)?;
    let rows = statement.query_map([count], |row| Ok((Millis(row.get(0)?), row.get::<_, String>(1)?)))?;
    rows.map(|row| row.map_err(Fault::from).and_then(|(at, text)| Ok((at, json(&text)?)))).collect()
}

/// When the last drill that passed was recorded, and the last of all.
pub fn last_drills(tx: &Connection) -> Result<(Option<Millis>, Option<Millis>), Fault> {
    let row = tx.prepare_cached(LAST_DRILLS)?.query_row([], |row| {
        Ok((row.get::<_, Option<i64>>(0)?.map(Millis), row.get::<_, Option<i64>>(1)?.map(Millis)))
    });
    Ok(row?)
}

/// A restore of one organization into the running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Names it.
    pub id: Uuid,
    /// Whose content.
    pub organization: OrgId,
    /// Into whose place.
    pub into: OrgId,
    /// From which target.
    pub target: String,
    /// To which moment.
    pub until: Until,
    /// When it was asked for.
    pub at: Millis,
    /// When it was over, and what became of it; none while it is wanted.
    pub ended: Option<(Millis, Ended)>,
}

/// Those that are not over.
pub fn wanted_restores(tx: &Connection) -> Result<Vec<Restore>, Fault> {
    read_restores(tx, WANTED_RESTORES, [])
}

/// The newest, newest first.
pub(super) fn restores(tx: &Connection, count: u32) -> Result<Vec<Restore>, Fault> {
    read_restores(tx, RESTORES, [count])
}

/// One of them.
pub(super) fn find_restore(tx: &Connection, id: Uuid) -> Result<Option<Restore>, Fault> {
    Ok(read_restores(tx, RESTORE, [id.to_string()])?.pop())
}

fn read_restores(tx: &Connection, sql: &str, with: impl Params) -> Result<Vec<Restore>, Fault> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(with)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_restore(row)?);
    }
    Ok(found)
}

fn read_restore(row: &Row<'_>) -> Result<Restore, Fault> {
    let text = |column| row.get::<_, String>(column);
    let id = |text: String| text.parse::<Uuid>().map_err(|error| Fault::new("read an id", error));
    let (ended, result): (Option<i64>, Option<String>) = (row.get(6)?, row.get(7)?);
    let result = result.map(|result| json(&result)).transpose()?;
    Ok(Restore {
        id: id(text(0)?)?,
        organization: OrgId(id(text(1)?)?),
        into: OrgId(id(text(2)?)?),
        target: text(3)?,
        until: json(&text(4)?)?,
        at: Millis(row.get(5)?),
        ended: ended.map(Millis).zip(result),
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::new("read what is stored of a backup", error))
}

const NAMES: &str = "SELECT name FROM backup_targets ORDER BY name";
const STATE: &str = "SELECT lineage, restored_from, restored_to, recovery, policy, drill_wanted_ms FROM backup_state WHERE one = 1";
const TARGETS: &str =
    "SELECT name, settings, credentials, archived, archived_ms, cut, cut_ms, said_ms, failing
    FROM backup_targets ORDER BY name";
const DRILLS: &str = "SELECT at_ms, result FROM backup_drills ORDER BY at_ms DESC, id DESC LIMIT ?1";
const LAST_DRILLS: &str = "SELECT max(CASE WHEN passed THEN at_ms END), max(at_ms) FROM backup_drills";
const WANTED_RESTORES: &str = "SELECT id, organization, into_id, target, upto, at_ms, ended_ms, result
    FROM backup_restores WHERE state = 'wanted' ORDER BY id";
const RESTORES: &str = "SELECT id, organization, into_id, target, upto, at_ms, ended_ms, result
    FROM backup_restores ORDER BY at_ms DESC, id DESC LIMIT ?1";
const RESTORE: &str = "SELECT id, organization, into_id, target, upto, at_ms, ended_ms, result
    FROM backup_restores WHERE id = ?1";
