//! How far the newest generation is.

use rusqlite::{Connection, OptionalExtension};

use super::commands::Step;
use crate::{
    kernel::{Fault, Millis},
    store::Generation,
};

/// A generation.
#[derive(Clone, Debug)]
pub(super) struct Newest {
    pub(super) generation: Generation,
    pub(super) step: Step,
    /// When it came to this step; 0 for the first, which came with the cluster.
    pub(super) at: Millis,
    pub(super) digest: Option<String>,
}

/// The newest generation.
pub(super) fn newest(tx: &Connection) -> Result<Newest, Fault> {
    let row = tx
        .prepare_cached(NEWEST)?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, Millis(row.get(2)?), row.get(3)?)));
    let Some((generation, step, at, digest)) = row.optional()? else {
        return Ok(Newest { generation: 1, step: Step::Settled, at: Millis(0), digest: None });
    };
    let unknown = || Fault::found(format!("cluster key {generation} is at a step that is none: {step}"));
    Ok(Newest { generation, step: Step::parse(&step).ok_or_else(unknown)?, at, digest })
}

/// Whether a rotation is under way.
pub fn rotating(tx: &Connection) -> Result<bool, Fault> {
    Ok(newest(tx)?.step != Step::Settled)
}

/// The first generation that surely wrapped nothing of what was erased up to then: one that was wanted when another had
/// settled after it. None, when there is no such one yet.
pub fn clean_from(tx: &Connection, erased: Option<Millis>) -> Result<Option<Generation>, Fault> {
    let Some(erased) = erased else { return Ok(Some(1)) };
    let settled: Option<Generation> = tx.prepare_cached(SETTLED)?.query_row([erased.0], |row| row.get(0))?;
    Ok(settled.map(|generation| generation.saturating_add(1)))
}

/// Number of the file's newest data key.
pub fn data_key(tx: &Connection) -> Result<u32, Fault> {
    Ok(tx.prepare_cached(DATA_KEY)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(1))
}

const SETTLED: &str = "SELECT min(generation) FROM keys_generations WHERE step = 'settled' AND at_ms > ?1";
const DATA_KEY: &str = "SELECT data_key FROM spine_state WHERE one = 1";
const NEWEST: &str =
    "SELECT generation, step, at_ms, digest FROM keys_generations ORDER BY generation DESC LIMIT 1";
