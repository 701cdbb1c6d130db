//! Targets, the policy, how far a target is, drills, lineages, restores. All in the system file but what a restore does
//! in the file of its organization.

mod lineage;
mod progress;
mod restores;
mod targets;

pub use lineage::BeginLineage;
pub use progress::{Load, NoteProgress, Progress, RecordDrill};
pub use restores::{EndRestore, Ended, ReplaceContent, RequestRestore};
pub use targets::{RemoveTarget, RequestDrill, SetBackupPolicy, SetTarget, TargetSet};
