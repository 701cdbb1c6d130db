//! Reading sessions.

use rusqlite::Connection;

use crate::kernel::{Fault, Millis};

/// Whether a session is open at a moment.
pub(super) fn is_open(tx: &Connection, session: &str, at: Millis) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(OPEN)?.query_row((session, at.0), |row| row.get(0))?)
}

const OPEN: &str = "SELECT EXISTS (SELECT 1 FROM sessions_open WHERE id = ?1 AND expires_ms > ?2)";
