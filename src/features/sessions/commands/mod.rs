//! Opening and ending sessions, inside the command that has a reason to; and the slice's own commands.

mod end;
mod keys;
mod policy;
mod refresh;
mod seen;

use serde_json::json;

use super::{
    model::{NewSession, Opened, Policy},
    queries,
};
use crate::{
    cluster::Apply,
    kernel::{Fault, Refusal, SessionId, UserId, from_hex},
    store::Stop,
};

pub use end::{EndOwn, EndUsers};
pub use keys::{AdvanceKeys, ResealKeys, RotateKeys, found};
pub use policy::SetPolicy;
pub use refresh::Refresh;
pub use seen::{Expire, StampSeen};

/// Opens a session for a user that the calling command has found to be active. Refuses an address that the
/// organization does not allow: the caller has proven who it is, and may be told.
pub fn open(cx: &mut Apply<'_>, session: &NewSession) -> Result<Opened, Stop> {
    require_address(cx)?;
    let (policy, _) = queries::policy(cx.tx)?;
    let refresh = digest(&session.refresh)?;

    make_room(cx, session.user, &policy)?;
    let (id, user, amr) = (session.id.to_string(), session.user.to_string(), session.amr.join(" "));
    let (address, agent) = (&cx.origin.ip_address, &cx.origin.user_agent);
    cx.tx.prepare_cached(INSERT)?.execute((&id, &user, cx.at.0, amr, address, agent, refresh))?;

    let changes = json!({ "user": user, "amr": session.amr, "expires_at": policy.ends(cx.at).to_string() });
    cx.note("session", session.id, changes);
    let (amr, sealed) = (session.amr.clone(), session.sealed.clone());
    Ok(Opened { session: session.id, auth_time: cx.at, amr, sealed })
}

/// Remembers that the user of an open session has proven anew who it is, and by what beside what it showed before.
pub fn prove_again(cx: &mut Apply<'_>, session: SessionId, words: &[String]) -> Result<(), Stop> {
    let open = queries::session(cx.tx, session)?.ok_or(Refusal::Unauthenticated)?;

    let mut amr = open.amr;
    amr.extend(words.iter().filter(|word| !amr.contains(word)).cloned().collect::<Vec<_>>());

    cx.tx.prepare_cached(PROVE)?.execute((session.to_string(), cx.at.0, amr.join(" ")))?;
    cx.touch_access();
    cx.note_also("sessions.proved_again", "session", &session.to_string(), json!({ "amr": amr }));
    Ok(())
}

/// Ends every session of `user` but one. Answers how many.
pub fn end_all(
    cx: &mut Apply<'_>,
    user: UserId,
    except: Option<SessionId>,
    why: &'static str,
) -> Result<usize, Stop> {
    let except = except.map(|session| session.to_string()).unwrap_or_default();
    let ended = cx.tx.prepare_cached(END_ALL)?.execute((user.to_string(), except))?;
    if ended > 0 {
        cx.touch_access();
        cx.note_also("sessions.ended", "user", &user.to_string(), json!({ "ended": ended, "why": why }));
    }
    Ok(ended)
}

/// Ends the oldest sessions of `user` so that one more is within the limit.
fn make_room(cx: &mut Apply<'_>, user: UserId, policy: &Policy) -> Result<(), Stop> {
    let user = user.to_string();
    let open: i64 = cx.tx.prepare_cached(COUNT)?.query_row([&user], |row| row.get(0))?;
    let over = open.saturating_add(1).saturating_sub(policy.concurrent_max);
    if over <= 0 {
        return Ok(());
    }
    let ended = cx.tx.prepare_cached(END_OLDEST)?.execute((&user, over))?;
    cx.touch_access();
    cx.note_also("sessions.ended", "user", &user, json!({ "ended": ended, "why": "concurrent_max" }));
    Ok(())
}

/// Refuses an address that the organization does not allow.
fn require_address(cx: &Apply<'_>) -> Result<(), Stop> {
    if queries::allowed(cx.tx, cx.organization)?.admits(cx.origin) {
        return Ok(());
    }
    Err(Refusal::AddressNotAllowed.into())
}

/// A digest that the edge wrote.
fn digest(hex: &str) -> Result<Vec<u8>, Fault> {
    from_hex(hex)
        .filter(|bytes| bytes.len() == 32)
        .ok_or_else(|| Fault::found("a command carries a digest that is none"))
}

const INSERT: &str = "INSERT INTO sessions_open
    (id, user_id, created_ms, auth_ms, seen_ms, amr, address, agent, refresh, rotated_ms)
    VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?5, ?6, ?7, ?3)";
const PROVE: &str = "UPDATE sessions_open SET auth_ms = ?2, amr = ?3 WHERE id = ?1";
const END_ALL: &str = "DELETE FROM sessions_open WHERE user_id = ?1 AND id <> ?2";
const COUNT: &str = "SELECT count(*) FROM sessions_open WHERE user_id = ?1";
const END_OLDEST: &str = "DELETE FROM sessions_open WHERE id IN
    (SELECT id FROM sessions_open WHERE user_id = ?1 ORDER BY created_ms, id LIMIT ?2)";
