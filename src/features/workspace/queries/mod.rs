//! Reading records, collaborators and notes.

mod list;
mod notes;
mod records;

pub(super) use list::{Narrowed, list};
#[cfg(test)]
pub(super) use list::{Way, list_looking_at, statement, ways};
#[cfg(test)]
pub(super) use notes::statements as note_statements;
pub(super) use notes::{has_answers, list_notes, note, note_count};
#[cfg(test)]
pub(super) use records::STATEMENTS as RECORD_STATEMENTS;
pub(super) use records::{record, user_exists};
