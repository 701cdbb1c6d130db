//! Workspace: what analysts work on: investigations with collaborators and threaded notes, cases, activities.
//!
//! Owns the tables `workspace_*`. A *record* is an investigation, a case or an activity: one shape, of which each kind shows its
//! own part. Its *owner* is who created it. A record is *active* as long as it is not closed.
//!
//! What always holds:
//! - the access engine decides every read, write and list with the attributes of the row; a change is judged by what the row
//!   was and by what it becomes; what one may not see is not found;
//! - quotas of active investigations and cases are exact;
//! - rows that find a record (`workspace_terms`) follow from its content;
//! - users are ids: of one who was deleted, the id stays where it stood;
//! - neither titles nor any other content enters the audit trail.
//!
//! Must not know: intelligence, sessions. Start at `model/record.rs`, then `queries/list.rs` for how lists stay fast
//! (`docs/decisions/0022-lists-by-seeks.md`).

mod commands;
pub mod http;
pub mod model;
mod queries;
#[cfg(test)]
mod tests;

pub use commands::{
    AssignCase, AssignInvestigation, Assignment, Change, CreateActivity, CreateCase, CreateInvestigation,
    CreateNote, DeleteActivity, DeleteCase, DeleteInvestigation, DeleteNote, NewRecord, Removal, Saved,
    SetCollaborator, UpdateActivity, UpdateCase, UpdateInvestigation, UpdateNote,
};
