//! Enrolling factors. A secret counts once its first code was shown; a passkey proves itself as it is made.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{end_others, owner, prove::held, refused, spend};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        factors::{
            model::{By, Method, PASSKEYS_MAX, Spend},
            queries,
        },
        sessions,
    },
    kernel::{FactorId, Permission, Refusal, UserId, from_hex},
    store::Stop,
};

/// A user is to have an authenticator app. Answers the sealed secret: of a repeated request the one made at first.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginTotp {
    /// The factor.
    pub factor: FactorId,
    /// What its user calls it.
    pub name: String,
    /// The secret, sealed (hexadecimal).
    pub sealed: String,
    /// By what right.
    pub by: By,
}

/// A secret that waits for its first code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The factor.
    pub factor: FactorId,
    /// The secret, sealed (hexadecimal).
    pub sealed: String,
}

impl Command for BeginTotp {
    const KIND: Kind = Kind::new("factors.begin_totp", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = Waiting;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Waiting, Stop> {
        let user = owner(cx, &self.by)?;
        require_allowed(cx, user)?;
        let sealed = from_hex(&self.sealed).ok_or_else(|| Refusal::field("/sealed", "is not hexadecimal"))?;

        let (id, owner) = (self.factor.to_string(), user.to_string());
        cx.tx.prepare_cached(FORGET_WAITING)?.execute([&owner])?;
        cx.tx.prepare_cached(INSERT_TOTP)?.execute((&id, &owner, &self.name, sealed, cx.at.0))?;

        cx.note("factor", self.factor, json!({ "user": user, "method": Method::Totp, "waits": true }));
        Ok(Waiting { factor: self.factor, sealed: self.sealed })
    }
}

/// The first code of a secret was shown: it counts, in place of the one before.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConfirmTotp {
    /// The factor.
    pub factor: FactorId,
    /// The step whose code was shown.
    pub step: i64,
    /// Digests of recovery codes, for a user who has none.
    pub recovery: Vec<String>,
    /// By what right.
    pub by: By,
}

/// A factor that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The factor.
    pub factor: FactorId,
    /// Whether the recovery codes were taken: the user had none.
    pub recovery: bool,
}

impl Command for ConfirmTotp {
    const KIND: Kind = Kind::new("factors.confirm_totp", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = Enrolled;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Enrolled, Stop> {
        let user = owner(cx, &self.by)?;
        require_allowed(cx, user)?;
        if let By::Enrolment { handle, .. } = &self.by {
            spend(cx, handle)?;
        }

        let (id, owner) = (self.factor.to_string(), user.to_string());
        if cx.tx.prepare_cached(CONFIRM_TOTP)?.execute((&id, &owner, self.step, cx.at.0))? == 0 {
            return Err(Refusal::NotFound.into());
        }
        let replaced = cx.tx.prepare_cached(FORGET_OTHERS)?.execute([&owner, &id])?;
        let recovery = add_recovery(cx, user, &self.recovery)?;

        let change =
            json!({ "user": user, "method": Method::Totp, "replaced": replaced, "recovery": recovery });
        cx.note("factor", self.factor, change);
        settle(cx, user, Method::Totp)?;
        Ok(Enrolled { factor: self.factor, recovery })
    }
}

/// A passkey was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct AddPasskey {
    /// The factor.
    pub factor: FactorId,
    /// What its user calls it.
    pub name: String,
    /// Its id among authenticators (hexadecimal).
    pub credential_id: String,
    /// Its public key and what belongs to it, as the edge's library writes it.
    pub credential: String,
    /// Its count of signatures.
    pub counter: u32,
    /// Whether its provider keeps a copy of it.
    pub backed_up: bool,
    /// The ceremony, which is spent.
    pub ceremony: Spend,
    /// Digests of recovery codes, for a user who has none.
    pub recovery: Vec<String>,
    /// By what right.
    pub by: By,
}

impl Command for AddPasskey {
    const KIND: Kind = Kind::new("factors.add_passkey", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = Enrolled;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Enrolled, Stop> {
        let user = owner(cx, &self.by)?;
        require_allowed(cx, user)?;
        let passkeys = queries::passkeys(cx.tx, user)?.len();
        if i64::try_from(passkeys).unwrap_or(i64::MAX) >= PASSKEYS_MAX {
            return Err(Refusal::WrongState { state: "passkeys_max".to_owned() }.into());
        }
        spend(cx, &self.ceremony)?;
        if let By::Enrolment { handle, .. } = &self.by {
            spend(cx, handle)?;
        }

        let id = self.factor.to_string();
        let row = (&id, user.to_string(), &self.name, &self.credential_id, &self.credential, self.counter);
        let (id, owner, name, credential_id, credential, counter) = row;
        let row =
            rusqlite::params![id, owner, name, credential_id, credential, counter, self.backed_up, cx.at.0];
        if cx.tx.prepare_cached(INSERT_PASSKEY)?.execute(row)? == 0 {
            return Err(refused("used"));
        }
        let recovery = add_recovery(cx, user, &self.recovery)?;

        let change = json!({ "user": user, "method": Method::Passkey, "recovery": recovery });
        cx.note("factor", self.factor, change);
        settle(cx, user, Method::Passkey)?;
        Ok(Enrolled { factor: self.factor, recovery })
    }
}

/// The present session has shown the new factor, and others end.
fn settle(cx: &mut Apply<'_>, user: UserId, method: Method) -> Result<(), Stop> {
    held(cx, user)?;
    if let Some(session) = cx.actor.session() {
        let words: Vec<String> = method.words().iter().map(|word| (*word).to_owned()).collect();
        sessions::prove_again(cx, session, &words)?;
    }
    end_others(cx, user)
}

fn require_allowed(cx: &Apply<'_>, user: UserId) -> Result<(), Stop> {
    if queries::may_enrol(cx.tx, user)? {
        return Ok(());
    }
    Err(Refusal::WrongState { state: "mfa_off".to_owned() }.into())
}

/// Keeps recovery codes, if the user has none.
fn add_recovery(cx: &mut Apply<'_>, user: UserId, digests: &[String]) -> Result<bool, Stop> {
    if digests.is_empty() || queries::recovery_codes_left(cx.tx, user)? > 0 {
        return Ok(false);
    }
    insert_recovery(cx, user, digests)?;
    Ok(true)
}

pub(super) fn insert_recovery(cx: &mut Apply<'_>, user: UserId, digests: &[String]) -> Result<(), Stop> {
    let user = user.to_string();
    for digest in digests {
        cx.tx.prepare_cached(INSERT_RECOVERY)?.execute((&user, digest))?;
    }
    Ok(())
}

const FORGET_WAITING: &str = "DELETE FROM factors_totp WHERE user_id = ?1 AND confirmed_ms IS NULL";
const INSERT_TOTP: &str = "INSERT INTO factors_totp (id, user_id, name, sealed, last_step, created_ms)
    VALUES (?1, ?2, ?3, ?4, 0, ?5)";
const CONFIRM_TOTP: &str = "UPDATE factors_totp SET last_step = ?3, confirmed_ms = ?4, used_ms = ?4
    WHERE id = ?1 AND user_id = ?2 AND confirmed_ms IS NULL";
const FORGET_OTHERS: &str = "DELETE FROM factors_totp WHERE user_id = ?1 AND id <> ?2";
const INSERT_PASSKEY: &str = "INSERT INTO factors_passkeys
    (id, user_id, name, credential_id, credential, counter, backed_up, created_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (credential_id) DO NOTHING";
const INSERT_RECOVERY: &str =
    "INSERT INTO factors_recovery (user_id, digest) VALUES (?1, ?2) ON CONFLICT (user_id, digest) DO NOTHING";
