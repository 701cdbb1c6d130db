//! Remembered replies: the same request id answers the same, on any node, also after a failover.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Apply, Command, Kind, Outcome, Trail};
use crate::{
    kernel::{Fault, Millis, Permission, RequestId},
    store::Stop,
};

/// What is known about a request id.
pub enum Remembered {
    /// It was answered.
    Answered(Outcome),
    /// It was used for something else.
    Elsewhere,
}

/// Looks a request id up.
pub fn recall(tx: &Connection, request: RequestId, fingerprint: &str) -> Result<Option<Remembered>, Stop> {
    let row: Option<(Vec<u8>, Vec<u8>)> = tx
        .prepare_cached(SELECT)?
        .query_row([request.0.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((known, outcome)) = row else { return Ok(None) };
    if known != fingerprint.as_bytes() {
        return Ok(Some(Remembered::Elsewhere));
    }
    let outcome: Outcome = serde_json::from_slice(&outcome)?;
    Ok(Some(Remembered::Answered(Outcome { replayed: true, ..outcome })))
}

/// Remembers an outcome.
pub fn remember(
    tx: &Connection,
    at: Millis,
    request: RequestId,
    fingerprint: &str,
    outcome: &[u8],
) -> Result<(), Stop> {
    let key = request.0.as_bytes().as_slice();
    tx.prepare_cached(INSERT)?.execute((key, at.0, fingerprint.as_bytes(), outcome))?;
    Ok(())
}

/// Gives a file that was made from a backup the remembered replies of the one whose place it takes. It may have had most of
/// them since it was made: a row never changes, new ones are as new as the newest or newer, and the oldest go first.
pub fn keep_replies(restored: &Connection, present: &Connection) -> Result<(), Fault> {
    let oldest: Option<i64> = present.query_row(OLDEST, [], |row| row.get(0))?;
    restored.execute(FORGET_OLD, [oldest.unwrap_or(i64::MAX)])?;
    let newest: Option<i64> = restored.query_row(NEWEST, [], |row| row.get(0))?;
    let mut reading = present.prepare(NEW)?;
    let mut rows = reading.query((oldest, newest.unwrap_or(i64::MIN)))?;
    while let Some(row) = rows.next()? {
        let row: (Vec<u8>, i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        restored.prepare_cached(KEEP)?.execute(row)?;
    }
    Ok(())
}

/// Forgets replies older than `before`, some at a time so that no entry takes long.
#[derive(Debug, Serialize, Deserialize)]
pub struct PruneReplies {
    /// Replies of this moment and later stay.
    pub before: Millis,
    /// Most replies to forget.
    pub limit: u32,
}

impl Command for PruneReplies {
    const KIND: Kind = Kind::new("spine.prune_replies", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        Ok(cx.tx.prepare_cached(PRUNE)?.execute((self.before.0, self.limit))?)
    }
}

const SELECT: &str = "SELECT fingerprint, outcome FROM spine_replies WHERE request = ?1";
const INSERT: &str =
    "INSERT INTO spine_replies (request, at_ms, fingerprint, outcome) VALUES (?1, ?2, ?3, ?4)";
const PRUNE: &str = "DELETE FROM spine_replies WHERE request IN
    (SELECT request FROM spine_replies WHERE at_ms < ?1 ORDER BY at_ms, request LIMIT ?2)";
const OLDEST: &str = "SELECT min(at_ms) FROM spine_replies";
const NEWEST: &str = "SELECT max(at_ms) FROM spine_replies";
const FORGET_OLD: &str = "DELETE FROM spine_replies WHERE at_ms <= ?1";
const NEW: &str =
    "SELECT request, at_ms, fingerprint, outcome FROM spine_replies WHERE at_ms = ?1 OR at_ms >= ?2";
const KEEP: &str =
    "INSERT OR IGNORE INTO spine_replies (request, at_ms, fingerprint, outcome) VALUES (?1, ?2, ?3, ?4)";
