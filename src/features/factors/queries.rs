//! Reading factors, policies and what is asked of a user.

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use super::model::{Demand, Level, Method, Policy};
use crate::{
    features::access,
    kernel::{DAY_MS, FactorId, Fault, Millis, Role, UserId},
};

/// The sealed secret of a user's authenticator app.
#[derive(Clone, Debug)]
pub(super) struct Totp {
    pub(super) id: FactorId,
    pub(super) sealed: Vec<u8>,
}

/// A passkey as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Passkey {
    pub(super) id: FactorId,
    pub(super) credential_id: String,
    pub(super) credential: String,
    pub(super) counter: i64,
}

/// What is asked of a user who logs in at a moment.
pub fn demand(tx: &Connection, user: UserId, role: Role, at: Millis) -> Result<Demand, Fault> {
    let (policy, _) = policy(tx)?;
    let asked = policy.rule(role, require_mfa(tx, role)?);
    let has = methods(tx, user)?;
    let passkey_only = asked.level == Level::PhishingResistant;
    let has_one = if passkey_only { has.contains(&Method::Passkey) } else { !has.is_empty() };
    let due = if asked.level >= Level::Required && !has_one {
        let known = attempts(tx, user)?.due;
        Some(known.unwrap_or_else(|| at.plus(asked.grace_days.saturating_mul(DAY_MS))))
    } else {
        None
    };
    let methods = if asked.level == Level::Off { Vec::new() } else { has };
    Ok(Demand { methods, passkey_only, due })
}

/// Whether members of a role can enrol at all.
pub(super) fn may_enrol(tx: &Connection, user: UserId) -> Result<bool, Fault> {
    let Some(role) = access::role_of(tx, user)? else { return Ok(false) };
    Ok(policy(tx)?.0.rule(role, require_mfa(tx, role)?).level != Level::Off)
}

/// Whether a user must have a factor.
pub(super) fn must_have(tx: &Connection, user: UserId) -> Result<bool, Fault> {
    let Some(role) = access::role_of(tx, user)? else { return Ok(false) };
    Ok(policy(tx)?.0.rule(role, require_mfa(tx, role)?).level >= Level::Required)
}

/// The policy, and its row's version; 0 while nobody has set one.
pub(super) fn policy(tx: &Connection) -> Result<(Policy, i64), Fault> {
    let row = tx
        .prepare_cached(POLICY)?
        .query_row([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    let Some((policy, version)) = row else { return Ok((Policy::default(), 0)) };
    let policy = serde_json::from_str(&policy).map_err(|error| Fault::new("read the MFA policy", error))?;
    Ok((policy, version))
}

/// Whether the organization's profile asks for a second factor; the system file has no profile.
pub(super) fn require_mfa(tx: &Connection, role: Role) -> Result<bool, Fault> {
    if role == Role::PlatformAdmin {
        return Ok(false);
    }
    Ok(tx.prepare_cached(REQUIRE_MFA)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(false))
}

/// The methods that a user can show.
pub(super) fn methods(tx: &Connection, user: UserId) -> Result<Vec<Method>, Fault> {
    let row = tx.prepare_cached(HAS)?.query_row([user.to_string()], |row| {
        Ok([row.get::<_, bool>(0)?, row.get::<_, bool>(1)?, row.get::<_, bool>(2)?])
    })?;
    let all = [Method::Totp, Method::Passkey, Method::RecoveryCode];
    Ok(all.into_iter().zip(row).filter_map(|(method, has)| has.then_some(method)).collect())
}

/// The confirmed secret of a user; or the one named, which may wait for its first code.
pub(super) fn totp(tx: &Connection, user: UserId, named: Option<FactorId>) -> Result<Option<Totp>, Fault> {
    let key = (user.to_string(), named.map(|id| id.to_string()));
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
    let row = tx.prepare_cached(TOTP)?.query_row(key, read).optional()?;
    row.map(|(id, sealed)| Ok(Totp { id: factor_id(&id)?, sealed })).transpose()
}

/// Every secret of the file: which factor, of whom, sealed.
pub(super) fn secrets(tx: &Connection) -> Result<Vec<(FactorId, UserId, Vec<u8>)>, Fault> {
    let mut statement = tx.prepare_cached(SECRETS)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    rows.map(|row| {
        let (id, user, sealed): (String, String, Vec<u8>) = row?;
        let user = user.parse().map_err(|error| Fault::new("read whose a factor is", error))?;
        Ok((factor_id(&id)?, user, sealed))
    })
    .collect()
}

/// The passkeys of a user.
pub(super) fn passkeys(tx: &Connection, user: UserId) -> Result<Vec<Passkey>, Fault> {
    let mut statement = tx.prepare_cached(PASSKEYS)?;
    let rows = statement.query_map([user.to_string()], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let passkey = |row: rusqlite::Result<(String, String, String, i64)>| {
        let (id, credential_id, credential, counter) = row?;
        Ok(Passkey { id: factor_id(&id)?, credential_id, credential, counter })
    };
    rows.map(passkey).collect()
}

/// Attempts of a user since the last that held, and until when it may come in without a factor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    pub(super) due: Option<Millis>,
    pub(super) count: i64,
    pub(super) latest: Millis,
}

pub(super) fn attempts(tx: &Connection, user: UserId) -> Result<Attempts, Fault> {
    let read = |row: &rusqlite::Row<'_>| {
        let due = row.get::<_, Option<i64>>(0)?.map(Millis);
        Ok(Attempts { due, count: row.get(1)?, latest: Millis(row.get(2)?) })
    };
    let row = tx.prepare_cached(ATTEMPTS)?.query_row([user.to_string()], read).optional()?;
    Ok(row.unwrap_or(Attempts { due: None, count: 0, latest: Millis(0) }))
}

/// Recovery codes that a user has left.
pub fn recovery_codes_left(tx: &Connection, user: UserId) -> Result<i64, Fault> {
    Ok(tx.prepare_cached(RECOVERY_LEFT)?.query_row([user.to_string()], |row| row.get(0))?)
}

/// A user's factors, as the API shows them: never a secret.
pub(super) fn list(tx: &Connection, user: UserId) -> Result<Value, Fault> {
    let mut statement = tx.prepare_cached(LIST)?;
    let rows = statement.query_map([user.to_string()], |row| {
        let moment = |place| row.get::<_, Option<i64>>(place).map(|at| at.map(|at| Millis(at).to_string()));
        Ok(json!({
            "id": row.get::<_, String>(0)?, "method": row.get::<_, String>(1)?,
            "name": row.get::<_, String>(2)?, "created_at": moment(3)?, "last_used_at": moment(4)?,
            "is_backed_up": row.get::<_, Option<bool>>(5)?,
        }))
    })?;
    let factors = rows.collect::<Result<Vec<_>, _>>()?;
    let left = recovery_codes_left(tx, user)?;
    Ok(json!({ "factors": factors, "recovery_codes_left": left }))
}

fn factor_id(text: &str) -> Result<FactorId, Fault> {
    text.parse().map_err(|error| Fault::new("read the id of a factor", error))
}

const POLICY: &str = "SELECT policy, version FROM factors_policy WHERE one = 1";
const REQUIRE_MFA: &str =
    "SELECT json_extract(details, '$.require_mfa') FROM organizations_profile WHERE one = 1";
const HAS: &str = "SELECT
    EXISTS (SELECT 1 FROM factors_totp WHERE user_id = ?1 AND confirmed_ms IS NOT NULL),
    EXISTS (SELECT 1 FROM factors_passkeys WHERE user_id = ?1),
    EXISTS (SELECT 1 FROM factors_recovery WHERE user_id = ?1)";
const TOTP: &str = "SELECT id, sealed FROM factors_totp
    WHERE user_id = ?1 AND iif(?2 IS NULL, confirmed_ms IS NOT NULL, id = ?2)
    ORDER BY id LIMIT 1";
const SECRETS: &str = "SELECT id, user_id, sealed FROM factors_totp";
const PASSKEYS: &str = "SELECT id, credential_id, credential, counter FROM factors_passkeys
    WHERE user_id = ?1 ORDER BY id";
const ATTEMPTS: &str = "SELECT due_ms, attempts, attempted_ms FROM factors_users WHERE user_id = ?1";
const RECOVERY_LEFT: &str = "SELECT count(*) FROM factors_recovery WHERE user_id = ?1";
const LIST: &str = "SELECT id, 'totp', name, created_ms, used_ms, NULL FROM factors_totp
    WHERE user_id = ?1 AND confirmed_ms IS NOT NULL
    UNION ALL SELECT id, 'passkey', name, created_ms, used_ms, backed_up FROM factors_passkeys WHERE user_id = ?1
    ORDER BY 1";
