//! What becomes of factors when a file is made from a backup.

use rusqlite::{Connection, params_from_iter, types::Value};

use crate::{
    features::factors::{codes, queries},
    kernel::{Fault, OrgId},
    store::Keyring,
};

/// Seals the secrets of a file, which nobody is answered from yet, for another organization than they were sealed for.
pub fn move_secrets(keyring: &Keyring, tx: &Connection, from: OrgId, to: OrgId) -> Result<(), Fault> {
    for (id, user, sealed) in queries::secrets(tx)? {
        let sealed = codes::reseal(keyring, (from, to), user, id, &sealed)?;
        tx.prepare_cached(SET_SECRET)?.execute((id.to_string(), sealed))?;
    }
    Ok(())
}

/// What is good once and was used stays used, for everybody whom the present file knows: recovery codes, codes of an app,
/// counters of passkeys, and attempts.
pub fn keep_spent(restored: &Connection, present: &Connection) -> Result<(), Fault> {
    let mut people = present.prepare(PEOPLE)?;
    let mut people = people.query([])?;
    while let Some(person) = people.next()? {
        restored.prepare_cached(FORGET_CODES)?.execute([person.get::<_, String>(0)?])?;
    }
    each(present, CODES, restored, KEEP_CODE)?;
    each(present, STEPS, restored, KEEP_STEP)?;
    each(present, COUNTERS, restored, KEEP_COUNTER)?;
    each(present, ATTEMPTS, restored, KEEP_ATTEMPTS)
}

/// Does something in one file with each row of another.
fn each(from: &Connection, select: &str, to: &Connection, change: &str) -> Result<(), Fault> {
    let mut reading = from.prepare(select)?;
    let width = reading.column_count();
    let mut rows = reading.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..width).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()?;
        to.prepare_cached(change)?.execute(params_from_iter(values))?;
    }
    Ok(())
}

const PEOPLE: &str = "SELECT DISTINCT id FROM identity_users";
const FORGET_CODES: &str = "DELETE FROM factors_recovery WHERE user_id = ?1";
const CODES: &str = "SELECT user_id, digest FROM factors_recovery";
const KEEP_CODE: &str = "INSERT INTO factors_recovery (user_id, digest)
    SELECT id, ?2 FROM identity_users WHERE id = ?1";
const STEPS: &str = "SELECT id, last_step FROM factors_totp";
const KEEP_STEP: &str = "UPDATE factors_totp SET last_step = ?2 WHERE id = ?1 AND last_step < ?2";
const COUNTERS: &str = "SELECT id, counter FROM factors_passkeys";
const KEEP_COUNTER: &str = "UPDATE factors_passkeys SET counter = ?2 WHERE id = ?1 AND counter < ?2";
const ATTEMPTS: &str = "SELECT user_id, attempts, attempted_ms FROM factors_users";
const KEEP_ATTEMPTS: &str = "UPDATE factors_users SET attempts = ?2, attempted_ms = ?3 WHERE user_id = ?1";
const SET_SECRET: &str = "UPDATE factors_totp SET sealed = ?2 WHERE id = ?1";
