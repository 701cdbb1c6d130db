//! Commands: what they share is in `records.rs`, one file for each kind names it.

mod activities;
mod cases;
mod collaborators;
mod investigations;
mod notes;
mod records;

pub use activities::{CreateActivity, DeleteActivity, UpdateActivity};
pub use cases::{AssignCase, CreateCase, DeleteCase, UpdateCase};
pub use collaborators::SetCollaborator;
pub use investigations::{
    AssignInvestigation, CreateInvestigation, DeleteInvestigation, UpdateInvestigation,
};
pub use notes::{CreateNote, DeleteNote, UpdateNote};
pub use records::{Assignment, Change, NewRecord, Removal};

use serde::{Deserialize, Serialize};

use crate::{kernel::Refusal, store::Stop};

/// Which row was written, and its version now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<I> {
    /// Its id.
    pub id: I,
    /// Its version.
    pub version: i64,
}

/// Compares the version that the caller read with the present one.
fn require_version(wanted: Option<i64>, current: i64) -> Result<(), Stop> {
    match wanted {
        Some(wanted) if wanted != current => Err(Refusal::VersionMismatch { current }.into()),
        _ => Ok(()),
    }
}

/// What one may not see is not there.
fn hidden(verdict: Result<(), Stop>) -> Result<(), Stop> {
    match verdict {
        Err(Stop::Refused(Refusal::PermissionDenied { .. })) => Err(Refusal::NotFound.into()),
        verdict => verdict,
    }
}
