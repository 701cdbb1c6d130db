//! When sessions were last used, and the end of those that were not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::sessions::queries,
    kernel::{Millis, Permission, SessionId},
    store::Stop,
};

/// A node says when it last saw sessions used.
#[derive(Debug, Serialize, Deserialize)]
pub struct StampSeen {
    /// When each was, by that node's clock.
    pub seen: BTreeMap<SessionId, Millis>,
}

impl Command for StampSeen {
    const KIND: Kind = Kind::new("sessions.stamp_seen", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        for (session, at) in &self.seen {
            // A clock that is ahead must not keep a session alive.
            cx.tx.prepare_cached(STAMP)?.execute((session.to_string(), (*at).min(cx.at).0))?;
        }
        Ok(())
    }
}

/// Removes sessions that time has ended. Answers how many; asked again while there are more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expire {
    /// Most sessions to remove in one entry.
    pub limit: u32,
}

impl Command for Expire {
    const KIND: Kind = Kind::new("sessions.expire", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let (policy, _) = queries::policy(cx.tx)?;

        // One that reached the absolute limit is used no more, and so it is idle soon.
        let ended = cx.tx.prepare_cached(EXPIRE)?.execute((cx.at.plus(-policy.idle_ms()).0, self.limit))?;

        if ended > 0 {
            cx.touch_access();
            let organization = cx.organization.to_string();
            cx.note_also(
                "sessions.ended",
                "organization",
                &organization,
                json!({ "ended": ended, "why": "expired" }),
            );
        }
        Ok(ended)
    }
}

const STAMP: &str = "UPDATE sessions_open SET seen_ms = ?2 WHERE id = ?1 AND seen_ms < ?2";
const EXPIRE: &str = "DELETE FROM sessions_open WHERE id IN
    (SELECT id FROM sessions_open WHERE seen_ms <= ?1 ORDER BY seen_ms, id LIMIT ?2)";
