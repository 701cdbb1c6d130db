//! Reading sessions, their limits, and signing keys.

use rusqlite::{Connection, OptionalExtension, Row};

use super::model::{Allowed, Authenticated, KeyState, Policy, Session};
use crate::{
    features::access,
    kernel::{Fault, Millis, OrgId, Page, Role, SessionId, UserId, Window, from_hex},
};

/// What a caller is recognised by: an open session of an active user.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) role: Role,
    pub(super) session: Session,
    pub(super) policy: Policy,
    /// Where its user may come from.
    pub(super) allowed: Allowed,
}

/// A session that has neither ended nor lost its user.
pub(super) fn live(
    tx: &Connection,
    organization: OrgId,
    id: SessionId,
    at: Millis,
) -> Result<Option<Live>, Fault> {
    let Some(session) = session(tx, id)? else { return Ok(None) };
    let (policy, _) = policy(tx)?;
    if !policy.alive(session.created, session.seen, at) {
        return Ok(None);
    }
    let Some(role) = access::role_of(tx, session.user)? else { return Ok(None) };
    let allowed = allowed(tx, organization)?;
    Ok(Some(Live { role, session, policy, allowed }))
}

/// A session, as long as it has a row.
pub(super) fn session(tx: &Connection, id: SessionId) -> Result<Option<Session>, Fault> {
    let sql = format!("{SELECT} WHERE id = ?1");
    tx.prepare_cached(&sql)?.query_row([id.to_string()], read).optional()?.map(parse).transpose()
}

/// When and how the user of an open session last proved who they are.
pub fn authenticated(tx: &Connection, id: SessionId, at: Millis) -> Result<Option<Authenticated>, Fault> {
    let Some(open) = session(tx, id)? else { return Ok(None) };
    let (policy, _) = policy(tx)?;
    let alive = policy.alive(open.created, open.seen, at);
    Ok(alive.then_some(Authenticated { user: open.user, at: open.auth_time, amr: open.amr }))
}

/// Sessions of a user, oldest first, also those that time has ended and nobody removed yet.
pub(super) fn of_user(tx: &Connection, user: UserId, window: &Window) -> Result<Page<Session>, Fault> {
    let sql = format!("{SELECT} WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let mut statement = tx.prepare_cached(&sql)?;
    let key = (user.to_string(), window.after.as_deref().unwrap_or(""), window.probe());
    let rows = statement.query_map(key, read)?;
    let sessions = rows.map(|row| parse(row?)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(sessions, window, |session| session.id.to_string()))
}

/// The limits, and the version of their row; 0 when the defaults hold.
pub(super) fn policy(tx: &Connection) -> Result<(Policy, i64), Fault> {
    let read = |row: &Row<'_>| {
        let policy =
            Policy { idle_minutes: row.get(0)?, absolute_hours: row.get(1)?, concurrent_max: row.get(2)? };
        Ok((policy, row.get(3)?))
    };
    Ok(tx.prepare_cached(POLICY)?.query_row([], read).optional()?.unwrap_or_default())
}

/// Where members of the organization may come from. The platform's administrators have no list.
pub(super) fn allowed(tx: &Connection, organization: OrgId) -> Result<Allowed, Fault> {
    if organization.is_system() {
        return Ok(Allowed::default());
    }
    let text: Option<Option<String>> =
        tx.prepare_cached(ALLOWED)?.query_row([], |row| row.get(0)).optional()?;
    let texts: Vec<String> = match text.flatten() {
        None => Vec::new(),
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| Fault::new("read the addresses that an organization allows", error))?,
    };
    Ok(Allowed::of(&texts))
}

/// Whether a refresh token (by the hexadecimal digest of its secret) is the one of its session that is good.
pub(super) fn is_good(tx: &Connection, session: SessionId, digest: &str) -> Result<bool, Fault> {
    let key = (session.to_string(), from_hex(digest).unwrap_or_default());
    Ok(tx.prepare_cached(GOOD)?.query_row(key, |row| row.get(0))?)
}

/// When the session that was used longest ago was used.
pub(super) fn seen_first(tx: &Connection) -> Result<Option<Millis>, Fault> {
    let seen: Option<i64> = tx.prepare_cached(SEEN_FIRST)?.query_row([], |row| row.get(0))?;
    Ok(seen.map(Millis))
}

/// A signing key's row.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) public: Vec<u8>,
    pub(super) sealed: Vec<u8>,
    pub(super) state: KeyState,
    pub(super) since: Millis,
}

/// Every signing key. Asked of the system file.
pub(super) fn keys(tx: &Connection) -> Result<Vec<KeyRow>, Fault> {
    let mut statement = tx.prepare_cached(KEYS)?;
    let rows = statement.query_map([], |row| {
        let state: String = row.get(3)?;
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, state, Millis(row.get(4)?)))
    })?;
    let mut keys = Vec::new();
    for row in rows {
        let (kid, public, sealed, state, since) = row?;
        let unknown = || Fault::found(format!("the signing key {kid} is in a state that is none: {state}"));
        keys.push(KeyRow { state: KeyState::parse(&state).ok_or_else(unknown)?, kid, public, sealed, since });
    }
    Ok(keys)
}

/// A person, in the words of the answer to `verify`.
pub(super) fn person(tx: &Connection, user: UserId) -> Result<Option<(String, String, String)>, Fault> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(tx.prepare_cached(PERSON)?.query_row([user.to_string()], read).optional()?)
}

type Raw = (String, String, Session);

fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let amr: String = row.get(5)?;
    let session = Session {
        id: SessionId(uuid::Uuid::nil()),
        user: UserId(uuid::Uuid::nil()),
        created: Millis(row.get(2)?),
        auth_time: Millis(row.get(3)?),
        seen: Millis(row.get(4)?),
        amr: amr.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        address: row.get(6)?,
        agent: row.get(7)?,
    };
    Ok((row.get(0)?, row.get(1)?, session))
}

fn parse((id, user, session): Raw) -> Result<Session, Fault> {
    let broken = |error| Fault::new(format!("read the ids of session {id}"), error);
    Ok(Session { id: id.parse().map_err(broken)?, user: user.parse().map_err(broken)?, ..session })
}

const SELECT: &str =
    "SELECT id, user_id, created_ms, auth_ms, seen_ms, amr, address, agent FROM sessions_open";
const POLICY: &str =
    "SELECT idle_minutes, absolute_hours, concurrent_max, version FROM sessions_policy WHERE one = 1";
const ALLOWED: &str =
    "SELECT json_extract(details, '$.allowed_ips') FROM organizations_profile WHERE one = 1";
const GOOD: &str = "SELECT EXISTS (SELECT 1 FROM sessions_open WHERE id = ?1 AND refresh = ?2)";
const SEEN_FIRST: &str = "SELECT min(seen_ms) FROM sessions_open";
const KEYS: &str = "SELECT kid, public, sealed, state, since_ms FROM sessions_keys ORDER BY kid";
const PERSON: &str = "SELECT email, first_name, last_name FROM identity_users WHERE id = ?1";
