//! One record at a time.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    features::{
        identity,
        workspace::model::{Record, RecordKind},
    },
    kernel::{Fault, Level, Millis, RecordId, UserId},
};

/// A record, with who was let into it.
pub(in crate::features::workspace) fn record(
    tx: &Connection,
    kind: RecordKind,
    id: RecordId,
) -> Result<Option<Record>, Fault> {
    let key = (kind.name(), id.to_string());
    let found = tx.prepare_cached(ONE)?.query_row(key, |row| Ok(read(row, kind))).optional()?;
    let Some(mut record) = found.transpose()? else { return Ok(None) };
    if kind.is_shared() {
        record.collaborators = collaborators(tx, id)?;
    }
    Ok(Some(record))
}

fn read(row: &Row<'_>, kind: RecordKind) -> Result<Record, Fault> {
    let assignee: Option<String> = row.get(2)?;
    let body: String = row.get(7)?;
    Ok(Record {
        kind,
        id: parsed(&row.get::<_, String>(0)?)?,
        owner: parsed(&row.get::<_, String>(1)?)?,
        assignee: assignee.as_deref().map(parsed).transpose()?,
        collaborators: Vec::new(),
        closed: row.get::<_, Option<i64>>(3)?.map(Millis),
        created: Millis(row.get(4)?),
        updated: Millis(row.get(5)?),
        version: row.get(6)?,
        content: serde_json::from_str(&body).map_err(|error| Fault::new("read a record's content", error))?,
    })
}

pub(super) fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::found(format!("the workspace holds {text:?}, which it never wrote")))
}

/// Who was let into an investigation, by id.
pub(in crate::features::workspace) fn collaborators(
    tx: &Connection,
    id: RecordId,
) -> Result<Vec<(UserId, Level)>, Fault> {
    let mut statement = tx.prepare_cached(COLLABORATORS)?;
    let rows = statement
        .query_map([id.to_string()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (user, level) = row?;
        Ok((parsed(&user)?, parsed(&level)?))
    })
    .collect()
}

/// Whether there is such a user.
pub(in crate::features::workspace) fn user_exists(tx: &Connection, user: UserId) -> Result<bool, Fault> {
    Ok(identity::by_user(tx, user)?.is_some())
}

/// Every statement about single records.
#[cfg(test)]
pub(in crate::features::workspace) const STATEMENTS: &[&str] = &[ONE, COLLABORATORS];
const ONE: &str = "SELECT id, owner, assignee, closed_ms, created_ms, updated_ms, version, body
    FROM workspace_records WHERE kind = ?1 AND id = ?2";
const COLLABORATORS: &str = "SELECT user_id, level FROM workspace_collaborators
    WHERE investigation = ?1 ORDER BY user_id";
