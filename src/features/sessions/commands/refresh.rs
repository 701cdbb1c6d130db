//! A refresh token is exchanged for its successor: one comparison and one swap.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{digest, require_address};
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::sessions::{
        model::{REPEAT_MS, Refreshed, Session},
        queries,
    },
    kernel::{Millis, Permission, Refusal, SessionId},
    store::Stop,
};

/// Somebody holds a refresh token of a session. The edge has found that this cluster issued it; whether it is still
/// good is decided here.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refresh {
    /// The session that it names.
    pub session: SessionId,
    /// SHA-256 of the token (hexadecimal).
    pub presented: String,
    /// SHA-256 of the one that follows it (hexadecimal).
    pub next: String,
}

impl Command for Refresh {
    const KIND: Kind = Kind::new("sessions.refresh", 1);
    const NEEDS: Permission = Permission::Anyone;
    /// One every ten minutes for everybody who works would bury the trail; a reuse is an event.
    const TRAIL: Trail = Trail::Silent;
    type Reply = Refreshed;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Refreshed, Stop> {
        let id = self.session.to_string();
        let live = queries::live(cx.tx, cx.organization, self.session, cx.at)?;
        let Some(Session { user, auth_time, amr, .. }) = live.map(|live| live.session) else {
            return Err(Refusal::Unauthenticated.into());
        };
        require_address(cx)?;
        let (presented, next) = (digest(&self.presented)?, digest(&self.next)?);
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, Millis(row.get(2)?)));
        let (good, before, rotated): (Vec<u8>, Option<Vec<u8>>, Millis) =
            cx.tx.prepare_cached(TOKENS)?.query_row([&id], read)?;

        let repeats = before.as_ref() == Some(&presented) && cx.at < rotated.plus(REPEAT_MS);
        if good == presented {
            let (address, agent) = (&cx.origin.ip_address, &cx.origin.user_agent);
            cx.tx.prepare_cached(ROTATE)?.execute((&id, next, presented, cx.at.0, address, agent))?;
        } else if !repeats {
            cx.tx.prepare_cached(END)?.execute([&id])?;
            cx.touch_access();
            let changes = json!({ "user": user, "rotated_at": rotated.to_string() });
            cx.note_also("sessions.refresh_reused", "session", &id, changes);
            return Ok(Refreshed::Reused);
        }
        Ok(Refreshed::Good { user, auth_time, amr })
    }
}

const TOKENS: &str = "SELECT refresh, previous, rotated_ms FROM sessions_open WHERE id = ?1";
const ROTATE: &str = "UPDATE sessions_open SET refresh = ?2, previous = ?3, rotated_ms = ?4, seen_ms = ?4,
    address = ?5, agent = ?6 WHERE id = ?1";
const END: &str = "DELETE FROM sessions_open WHERE id = ?1";
