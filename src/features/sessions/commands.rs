//! Opening and ending sessions, inside the command that has a reason to.

use serde_json::json;

use super::{model::NewSession, queries};
use crate::{
    cluster::Apply,
    kernel::{Refusal, SessionId, UserId},
    store::Stop,
};

/// Opens a session for a user that the calling command has found to be active.
pub fn open(cx: &mut Apply<'_>, session: &NewSession) -> Result<(), Stop> {
    let expires = cx.at.plus(session.lasts_ms);

    // Ended sessions go when new ones come: the table stays as large as its live part.
    cx.tx.prepare_cached(FORGET)?.execute([cx.at.0])?;
    let (id, user) = (session.id.to_string(), session.user.to_string());
    cx.tx.prepare_cached(INSERT)?.execute((
        &id,
        &user,
        cx.at.0,
        expires.0,
        serde_json::to_string(&session.amr)?,
    ))?;

    cx.note("session", session.id, json!({ "user": user, "expires_at": expires.to_string() }));
    Ok(())
}

/// The user of a session has proved again who they are.
pub fn renew(cx: &mut Apply<'_>, session: SessionId, words: &[String]) -> Result<(), Stop> {
    let Some(before) = queries::authenticated(cx.tx, session, cx.at)? else {
        return Err(Refusal::Unauthenticated.into());
    };

    let mut amr = before.amr;
    amr.extend(words.iter().filter(|word| !amr.contains(word)).cloned().collect::<Vec<_>>());

    let row = (session.to_string(), cx.at.0, serde_json::to_string(&amr)?);
    cx.tx.prepare_cached(RENEW)?.execute(row)?;

    cx.note("session", session, json!({ "amr": amr }));
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

const FORGET: &str = "DELETE FROM sessions_open WHERE expires_ms <= ?1";
const INSERT: &str = "INSERT INTO sessions_open (id, user_id, created_ms, expires_ms, auth_ms, amr) VALUES (?1, ?2, ?3, ?4, ?3, ?5)";
const RENEW: &str = "UPDATE sessions_open SET auth_ms = ?2, amr = ?3 WHERE id = ?1";
const END_ALL: &str = "DELETE FROM sessions_open WHERE user_id = ?1 AND id <> ?2";
