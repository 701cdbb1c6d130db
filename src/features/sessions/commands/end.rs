//! Ending sessions by those they belong to, and by administrators.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::end_all;
use crate::{
    cluster::{Apply, Command, Kind},
    features::sessions::queries,
    kernel::{Actor, Permission, Refusal, SessionId, UserId},
    store::Stop,
};

/// Somebody ends sessions of its own: one, or all but the one it acts in. Answers how many.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndOwn {
    /// Which; all others when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

impl Command for EndOwn {
    const KIND: Kind = Kind::new("sessions.end_own", 1);
    /// Whoever is somebody may leave, whatever else it may do.
    const NEEDS: Permission = Permission::Anyone;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let (user, acting) = own(cx)?;

        let Some(session) = self.session else {
            cx.note("user", user, json!({ "kept": acting }));
            return end_all(cx, user, Some(acting), "ended_by_user");
        };
        let ended = cx.tx.prepare_cached(END)?.execute((session.to_string(), user.to_string()))?;
        if ended == 0 {
            return Err(Refusal::NotFound.into());
        }

        cx.touch_access();
        cx.note("session", session, json!({ "user": user }));
        Ok(ended)
    }
}

/// The user of this file that acts, and its session, which must not have ended.
fn own(cx: &Apply<'_>) -> Result<(UserId, SessionId), Stop> {
    let at_home = match cx.actor {
        Actor::User { organization, .. } => *organization == cx.organization,
        Actor::Platform { .. } => cx.organization.is_system(),
        Actor::System | Actor::Anonymous => false,
    };
    let acting = cx.actor.user().zip(cx.actor.session()).filter(|_| at_home);
    let Some((user, session)) = acting else { return Err(Refusal::Unauthenticated.into()) };
    match queries::session(cx.tx, session)? {
        Some(open) if open.user == user => Ok((user, session)),
        _ => Err(Refusal::Unauthenticated.into()),
    }
}

/// An administrator ends the sessions of a user, or of everybody but the one it acts in. Answers how many.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndUsers {
    /// Whose; everybody's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
}

impl Command for EndUsers {
    const KIND: Kind = Kind::new("sessions.end_users", 1);
    const NEEDS: Permission = Permission::SessionEnd;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let acting = cx.actor.session();

        if let Some(user) = self.user {
            if queries::person(cx.tx, user)?.is_none() {
                return Err(Refusal::NotFound.into());
            }
            cx.note("user", user, json!({}));
            return end_all(cx, user, acting, "ended_by_administrator");
        }
        let except = acting.map(|session| session.to_string()).unwrap_or_default();
        let ended = cx.tx.prepare_cached(END_EVERYBODYS)?.execute([except])?;

        cx.touch_access();
        cx.note("organization", cx.organization, json!({ "ended": ended }));
        Ok(ended)
    }
}

const END: &str = "DELETE FROM sessions_open WHERE id = ?1 AND user_id = ?2";
const END_EVERYBODYS: &str = "DELETE FROM sessions_open WHERE id <> ?1";
