//! The decision inside commands, and the commands that change what decides.

mod escalation;
mod expiry;
mod grants;
mod groups;
mod policies;
mod require;
mod roles;
mod simulate;

pub use escalation::require_may_give_role;
pub use expiry::{ForgetExpired, forget_subject, forget_user};
pub use grants::{DeleteGrant, SaveGrant};
pub use groups::{DeleteGroup, SaveGroup, SetMember};
pub use policies::{DeletePolicy, SavePolicy};
pub use require::{circumstances_of, oversee, require, require_for};
pub use roles::{DeleteRole, GiveRole, SaveRole, TakeRole};
pub(super) use simulate::{Difference, Proposed, Simulated, simulate};

use serde::{Deserialize, Serialize};

use crate::{kernel::Refusal, store::Stop};

/// Which row was saved, and its version now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<I> {
    /// Its id.
    pub id: I,
    /// Its version.
    pub version: i64,
}

/// Compares the version that the caller read with the present one.
/// The version of a row that is saved: of a new one, for which there must be room, or of one that was read.
fn next_version(
    before: Option<i64>,
    new: bool,
    wanted: Option<i64>,
    room: impl FnOnce() -> Result<(), Stop>,
) -> Result<i64, Stop> {
    match before {
        None if new => room().map(|()| 1),
        None => Err(Refusal::NotFound.into()),
        Some(_) if new => Err(Refusal::WrongState { state: "there already".to_owned() }.into()),
        Some(version) => {
            require_version(wanted, version)?;
            Ok(version + 1)
        }
    }
}

fn require_version(wanted: Option<i64>, current: i64) -> Result<(), Stop> {
    match wanted {
        Some(wanted) if wanted != current => Err(Refusal::VersionMismatch { current }.into()),
        _ => Ok(()),
    }
}

/// Refuses one more row than an organization may have.
fn require_room(what: &str, count: i64, max: i64) -> Result<(), Stop> {
    if count < max {
        return Ok(());
    }
    Err(Refusal::LimitReached { what: what.to_owned(), max }.into())
}
