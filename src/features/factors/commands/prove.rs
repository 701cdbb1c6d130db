//! Proofs at a login: what is shown is spent in the transaction that opens the session.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{method_names, oneself, refused, spend};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        access,
        factors::{
            model::{Method, Proof, RECOVERY_CODES_FEW, Shown},
            queries,
        },
    },
    kernel::{FactorId, Millis, Permission, Refusal, UserId},
    store::Stop,
};

/// A user who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How it proved who it is, in the words of RFC 8176.
    pub amr: Vec<String>,
    /// Until when it may come in without the factor that is asked of it; none when it has one, or needs none.
    pub due: Option<Millis>,
}

/// Lets a user in who has shown `first` (the words for a password, or none) and perhaps a proof, or refuses.
/// For the command that opens the session.
pub fn pass(
    cx: &mut Apply<'_>,
    user: UserId,
    first: &[String],
    proof: Option<&Proof>,
) -> Result<Passed, Stop> {
    let role = access::role_of(cx.tx, user)?.ok_or(Refusal::Unauthenticated)?;
    let demand = queries::demand(cx.tx, user, role, cx.at)?;

    let method = proof.map(|proof| prove(cx, user, proof)).transpose()?;
    if first.is_empty() && method != Some(Method::Passkey) {
        return Err(Refusal::Unauthenticated.into());
    }
    if !demand.lets_in(method, cx.at) {
        return Err(match method {
            None if !demand.methods.is_empty() => {
                Refusal::MfaRequired { methods: method_names(cx, user)? }.into()
            }
            _ => Refusal::MfaEnrolmentRequired.into(),
        });
    }

    keep_due(cx, user, demand.due)?;
    Ok(Passed { amr: words(first, method), due: demand.due })
}

fn words(first: &[String], method: Option<Method>) -> Vec<String> {
    let mut amr = first.to_vec();
    amr.extend(method.iter().flat_map(|method| method.words()).map(|word| (*word).to_owned()));
    amr
}

/// The grace runs from the first login under the policy; it begins anew only when nothing was lacking between.
fn keep_due(cx: &mut Apply<'_>, user: UserId, due: Option<Millis>) -> Result<(), Stop> {
    let known = queries::attempts(cx.tx, user)?.due;
    if known != due {
        cx.tx.prepare_cached(SET_DUE)?.execute((user.to_string(), due.map(|due| due.0)))?;
    }
    Ok(())
}

/// Whether what was shown holds; spends it.
pub(super) fn prove(cx: &mut Apply<'_>, user: UserId, proof: &Proof) -> Result<Method, Stop> {
    for handle in &proof.spends {
        spend(cx, handle)?;
    }
    let method = match &proof.shown {
        Shown::Totp { factor, step } => use_step(cx, user, *factor, *step)?,
        Shown::Passkey { factor, counter, backed_up } => {
            use_passkey(cx, user, *factor, i64::from(*counter), *backed_up)?
        }
        Shown::RecoveryCode { digest } => use_recovery_code(cx, user, digest)?,
        Shown::Enrolled { factor } => enrolled(cx, user, *factor)?,
    };
    held(cx, user)?;
    Ok(method)
}

/// What was shown holds: attempts count from here.
pub(super) fn held(cx: &mut Apply<'_>, user: UserId) -> Result<(), Stop> {
    cx.tx.prepare_cached(HELD)?.execute([user.to_string()])?;
    Ok(())
}

/// RFC 6238, section 5.2: a code is taken once.
fn use_step(cx: &mut Apply<'_>, user: UserId, factor: FactorId, step: i64) -> Result<Method, Stop> {
    let row = (factor.to_string(), user.to_string(), step, cx.at.0);
    if cx.tx.prepare_cached(USE_STEP)?.execute(row)? == 0 {
        return Err(refused("used"));
    }
    Ok(Method::Totp)
}

/// WebAuthn, section 6.1.1: a count that does not grow is a sign of a copy.
fn use_passkey(
    cx: &mut Apply<'_>,
    user: UserId,
    factor: FactorId,
    counter: i64,
    backed_up: bool,
) -> Result<Method, Stop> {
    let stored = queries::passkeys(cx.tx, user)?.into_iter().find(|passkey| passkey.id == factor);
    let stored = stored.ok_or_else(|| refused("unknown"))?;
    if (counter > 0 || stored.counter > 0) && counter <= stored.counter {
        return Err(refused("counter"));
    }
    let row = (factor.to_string(), counter, backed_up, cx.at.0);
    cx.tx.prepare_cached(USE_PASSKEY)?.execute(row)?;
    Ok(Method::Passkey)
}

fn use_recovery_code(cx: &mut Apply<'_>, user: UserId, digest: &str) -> Result<Method, Stop> {
    if cx.tx.prepare_cached(USE_RECOVERY)?.execute((user.to_string(), digest))? == 0 {
        return Err(refused("used"));
    }
    let left = queries::recovery_codes_left(cx.tx, user)?;
    let what =
        if left <= RECOVERY_CODES_FEW { "factors.recovery_codes_low" } else { "factors.recovery_code_used" };
    cx.note_also(what, "user", &user.to_string(), json!({ "left": left }));
    Ok(Method::RecoveryCode)
}

fn enrolled(cx: &mut Apply<'_>, user: UserId, factor: FactorId) -> Result<Method, Stop> {
    if queries::totp(cx.tx, user, None)?.is_some_and(|totp| totp.id == factor) {
        return Ok(Method::Totp);
    }
    let passkeys = queries::passkeys(cx.tx, user)?;
    let known = passkeys.iter().any(|passkey| passkey.id == factor);
    if known { Ok(Method::Passkey) } else { Err(refused("unknown")) }
}

/// A user who may not come in before it has enrolled a factor is told so, and begins to.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdmitToEnrolment {
    /// The user, who has shown a password.
    pub user: UserId,
    /// A factor that it has but that will not do, shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

impl Command for AdmitToEnrolment {
    const KIND: Kind = Kind::new("factors.admit_to_enrolment", 1);
    const NEEDS: Permission = Permission::Anyone;
    /// Whether a factor was shown.
    type Reply = bool;

    fn apply(self, cx: &mut Apply<'_>) -> Result<bool, Stop> {
        let Self { user, proof } = self;
        oneself(cx, user)?;
        let role = access::role_of(cx.tx, user)?.ok_or(Refusal::Unauthenticated)?;
        let demand = queries::demand(cx.tx, user, role, cx.at)?;

        if proof.is_none() && !demand.methods.is_empty() {
            return Err(Refusal::MfaRequired { methods: method_names(cx, user)? }.into());
        }
        let method = proof.as_ref().map(|proof| prove(cx, user, proof)).transpose()?;
        keep_due(cx, user, demand.due)?;

        let due = demand.due.map(|due| due.to_string());
        cx.note("user", user, json!({ "shown": method, "due": due }));
        Ok(method.is_some())
    }
}

const SET_DUE: &str =
    "INSERT INTO factors_users (user_id, due_ms, attempts, attempted_ms) VALUES (?1, ?2, 0, 0)
    ON CONFLICT (user_id) DO UPDATE SET due_ms = excluded.due_ms";
const HELD: &str = "UPDATE factors_users SET attempts = 0 WHERE user_id = ?1";
const USE_STEP: &str = "UPDATE factors_totp SET last_step = ?3, used_ms = ?4
    WHERE id = ?1 AND user_id = ?2 AND confirmed_ms IS NOT NULL AND last_step < ?3";
const USE_PASSKEY: &str =
    "UPDATE factors_passkeys SET counter = ?2, backed_up = ?3, used_ms = ?4 WHERE id = ?1";
const USE_RECOVERY: &str = "DELETE FROM factors_recovery WHERE user_id = ?1 AND digest = ?2";
