//! Reading secrets, tokens and levels.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    commands::number,
    model::{Rotation, secret_of},
};
use crate::kernel::{Fault, Millis};

/// A secret that the nodes share, sealed under the cluster key as `secret:<name>`.
pub fn secret(tx: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    Ok(tx.prepare_cached(SECRET)?.query_row([name], |row| row.get(0)).optional()?)
}

/// Every shared secret, by name. The row of the rotation holds none.
pub fn secrets(tx: &Connection) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut statement = tx.prepare_cached(SECRETS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rotation and the sealed authority that it is about.
pub(super) fn rotation_with_secret(tx: &Connection) -> Result<Option<(Rotation, Vec<u8>)>, Fault> {
    let Some(rotation) = rotation(tx)? else { return Ok(None) };
    let sealed = secret(tx, &secret_of(&rotation.to))?;
    let missing = || Fault::found("the authority of a rotation is missing");
    Ok(Some((rotation, sealed.ok_or_else(missing)?)))
}

/// When a node was let in last.
pub fn last_let_in(tx: &Connection) -> Result<Option<Millis>, Fault> {
    let at: Option<i64> = tx.prepare_cached(LET_IN)?.query_row([], |row| row.get(0))?;
    Ok(at.map(Millis))
}

/// The rotation of the cluster's authority that is under way, or the last one.
pub fn rotation(tx: &Connection) -> Result<Option<Rotation>, Fault> {
    let text = secret(tx, ROTATION)?;
    let read = |text: Vec<u8>| serde_json::from_slice(&text);
    text.map(read).transpose().map_err(|error| Fault::new("read the rotation of the authority", error))
}

/// How a level came into force.
pub struct LevelRow {
    /// The first version that knows it.
    pub version: String,
    /// When.
    pub raised: Millis,
    /// By which user, or by the installation.
    pub raised_by: String,
}

/// How `level` came into force. A binary older than the level reads this too: the table is the same at every level.
pub fn level_row(tx: &Connection, level: u32) -> Result<Option<LevelRow>, Fault> {
    let read = |row: &Row<'_>| {
        Ok(LevelRow { version: row.get(0)?, raised: Millis(row.get(1)?), raised_by: row.get(2)? })
    };
    Ok(tx.prepare_cached(LEVEL)?.query_row([level], read).optional()?)
}

/// Whether there is a token with this digest, spent or not. What is unknown need not reach the log.
pub fn knows_token(tx: &Connection, digest: &[u8]) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(KNOWN)?.query_row([digest], |row| row.get(0))?)
}

/// The token with this digest, if it still admits at `at`.
pub(super) fn open_token(tx: &Connection, digest: &[u8], at: Millis) -> Result<Option<String>, Fault> {
    Ok(tx.prepare_cached(OPEN)?.query_row((digest, at.0), |row| row.get(0)).optional()?)
}

/// Whether a node of this number was removed.
pub(super) fn is_retired(tx: &Connection, node: u64) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(RETIRED)?.query_row([number(node)?], |row| row.get(0))?)
}

/// Whether the cluster has begun.
pub(super) fn has_begun(tx: &Connection) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(BEGUN)?.query_row([], |row| row.get(0))?)
}

/// Name of the row that is the rotation: the one that is not sealed.
pub(super) const ROTATION: &str = "rotation";

const SECRET: &str = "SELECT sealed FROM membership_secrets WHERE name = ?1";
const SECRETS: &str = "SELECT name, sealed FROM membership_secrets WHERE name <> 'rotation' ORDER BY name";
const LET_IN: &str = "SELECT max(spent_ms) FROM membership_tokens";
const LEVEL: &str = "SELECT version, raised_ms, raised_by FROM membership_levels WHERE level = ?1";
const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM membership_tokens WHERE digest = ?1)";
const OPEN: &str =
    "SELECT id FROM membership_tokens WHERE digest = ?1 AND spent_ms IS NULL AND expires_ms > ?2";
const RETIRED: &str = "SELECT EXISTS (SELECT 1 FROM membership_retired WHERE node = ?1)";
const BEGUN: &str = "SELECT EXISTS (SELECT 1 FROM identity_users)";
