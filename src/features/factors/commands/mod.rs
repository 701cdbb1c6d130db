//! What changes factors, and what spends them.

mod attempt;
mod carry;
mod change;
pub(super) mod enrol;
mod policy;
mod prove;
mod step_up;

pub use attempt::{Attempt, RefuseProof};
pub use carry::{keep_spent, move_secrets};
pub use change::{RemoveFactor, RenameFactor, RenewRecoveryCodes, ResetFactors};
pub use enrol::{AddPasskey, BeginTotp, ConfirmTotp};
pub use policy::SetMfaPolicy;
pub use prove::{AdmitToEnrolment, Passed, pass};
pub use step_up::{StepUp, require_recent};

use super::model::{By, Spend};
use crate::{
    cluster::Apply,
    features::sessions,
    kernel::{Refusal, UserId},
    store::Stop,
};

/// Spends a handle: each is good once, on whichever node it is shown.
fn spend(cx: &mut Apply<'_>, handle: &Spend) -> Result<(), Stop> {
    cx.tx.prepare_cached(FORGET_SPENT)?.execute([cx.at.0])?;
    if handle.until <= cx.at {
        return Err(refused("expired"));
    }
    if cx.tx.prepare_cached(SPEND)?.execute((handle.id.to_string(), handle.until.0))? == 0 {
        return Err(refused("used"));
    }
    Ok(())
}

/// The actor, if it may change its own factors now.
fn owner(cx: &Apply<'_>, by: &By) -> Result<UserId, Stop> {
    let user = cx.actor.user().ok_or(Refusal::Unauthenticated)?;
    match by {
        By::Session => require_recent(cx)?,
        // Who has a factor shows it first: the password alone must not be enough to add another.
        By::Enrolment { proven, .. } => {
            if !proven && !super::queries::methods(cx.tx, user)?.is_empty() {
                return Err(Refusal::MfaRequired { methods: method_names(cx, user)? }.into());
            }
        }
    }
    Ok(user)
}

/// The user, which must be the actor: what is counted and said of it is nobody else's to cause.
fn oneself(cx: &Apply<'_>, user: UserId) -> Result<UserId, Stop> {
    if cx.actor.user() == Some(user) { Ok(user) } else { Err(Refusal::NotFound.into()) }
}

/// Ends what was open before the user's factors changed, but for the session that changed them.
fn end_others(cx: &mut Apply<'_>, user: UserId) -> Result<(), Stop> {
    let own = cx.actor.session();
    sessions::end_all(cx, user, own, "mfa_changed")?;
    Ok(())
}

fn method_names(cx: &Apply<'_>, user: UserId) -> Result<Vec<String>, Stop> {
    let methods = super::queries::methods(cx.tx, user)?;
    Ok(methods.into_iter().map(|method| method.name().to_owned()).collect())
}

fn refused(reason: &str) -> Stop {
    Refusal::ProofRefused { reason: reason.to_owned() }.into()
}

const FORGET_SPENT: &str = "DELETE FROM factors_spent WHERE until_ms <= ?1";
const SPEND: &str = "INSERT INTO factors_spent (id, until_ms) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
