//! Targets, the policy, how far a target is, drills, lineages. All in the system file.

mod lineage;
mod progress;
mod targets;

pub use lineage::BeginLineage;
pub use progress::{Load, NoteProgress, Progress, RecordDrill};
pub use targets::{RemoveTarget, RequestDrill, SetBackupPolicy, SetTarget, TargetSet};
