//! Reading how often logins failed.

use rusqlite::{Connection, OptionalExtension};

use super::model::{Failures, Keys, wait_ms};
use crate::kernel::{Fault, Millis};

/// The failures counted under a key.
pub(super) fn failures(tx: &Connection, key: &str) -> Result<Failures, Fault> {
    let row = tx.prepare_cached(FAILURES)?.query_row([key], |row| {
        let trusted = row.get::<_, Option<i64>>(2)?.map(Millis);
        Ok(Failures { count: row.get(0)?, last: Millis(row.get(1)?), trusted })
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// How long a login must wait.
pub(super) fn wait(tx: &Connection, keys: &Keys, at: Millis) -> Result<i64, Fault> {
    let [pair, source, account] = [&keys.pair, &keys.source, &keys.account].map(|key| failures(tx, key));
    Ok(wait_ms(pair?, source?, account?, at))
}

const FAILURES: &str = "SELECT failures, last_ms, trusted_ms FROM login_failures WHERE key = ?1";
