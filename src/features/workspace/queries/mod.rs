//! Reading records, collaborators and notes.

mod list;
mod notes;
mod records;

pub(super) use list::{Narrowed, list};
pub(super) use notes::{has_answers, list_notes, note, note_count};
pub(super) use records::{record, user_exists};
