//! Reading sessions.

use rusqlite::{Connection, OptionalExtension};

use super::model::Authenticated;
use crate::kernel::{Fault, Millis, SessionId};

/// Whether a session is open at a moment.
pub(super) fn is_open(tx: &Connection, session: &str, at: Millis) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(OPEN)?.query_row((session, at.0), |row| row.get(0))?)
}

/// When and how the user of an open session last proved who they are.
pub fn authenticated(
    tx: &Connection,
    session: SessionId,
    at: Millis,
) -> Result<Option<Authenticated>, Fault> {
    let row = tx
        .prepare_cached(AUTHENTICATED)?
        .query_row((session.to_string(), at.0), |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((user, at, amr)) = row else { return Ok(None) };
    let user = user.parse().map_err(|error| Fault::new("read a session's user", error))?;
    let amr = serde_json::from_str(&amr).map_err(|error| Fault::new("read a session's amr", error))?;
    Ok(Some(Authenticated { user, at: Millis(at), amr }))
}

const AUTHENTICATED: &str =
    "SELECT user_id, auth_ms, amr FROM sessions_open WHERE id = ?1 AND expires_ms > ?2";
const OPEN: &str = "SELECT EXISTS (SELECT 1 FROM sessions_open WHERE id = ?1 AND expires_ms > ?2)";
