//! Notes in an investigation, and who sees a private one.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::words;
use crate::{
    features::access::{Circumstances, Compiled, model::Truth},
    kernel::{Attributes, Field, Millis, NoteId, Permission, RecordId, UserId},
};

/// Longest note.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// How deep notes answer each other.
pub const DEPTH_MAX: i64 = 20;
/// Most notes of one investigation: deleting it removes them all in one transaction.
pub const NOTES_MAX: i64 = 500;

words! {
    /// What a note is meant as.
    NoteKind {
        /// A remark.
        Comment = "comment",
        /// What may be so.
        Hypothesis = "hypothesis",
        /// What is so.
        Finding = "finding",
        /// What was or is to be done.
        Action = "action",
    }
}

/// A note as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// In which investigation.
    pub investigation: RecordId,
    /// Its id.
    pub id: NoteId,
    /// Which note it answers.
    pub parent: Option<NoteId>,
    /// 1 for a note that answers none, and one more for each that it answers in turn.
    pub depth: i64,
    /// Who wrote it.
    pub author: UserId,
    /// What it is meant as.
    pub kind: NoteKind,
    /// Whether it is its author's alone.
    pub private: bool,
    /// Whether it was deleted, and is kept empty for those that answer it.
    pub removed: bool,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
    /// Counts its changes.
    pub version: i64,
}

impl Note {
    /// What rules see of it.
    pub fn attributes(&self) -> Attributes {
        let known = Attributes::whole().named(self.id.to_string()).owned_by(self.author);
        known.field(Field::Type, self.kind.name())
    }
}

/// Whether a note may be read: by rule, as anything; a private one by its author alone, unless a grant names that very note.
pub fn judge_note(rights: &Compiled, note: &Note, how: &Circumstances) -> bool {
    let thing = note.attributes();
    let is_allowed = rights.require(Permission::NoteRead, &thing, how).is_ok();
    let is_own = rights.holder().user == Some(note.author);
    is_allowed && (!note.private || is_own || opened(rights, &thing, how))
}

/// Whether a grant that names the thing lets it be read.
fn opened(rights: &Compiled, thing: &Attributes, how: &Circumstances) -> bool {
    rights.allowances().iter().any(|clause| {
        let holds = |condition: &crate::features::access::model::Condition| {
            condition.holds(rights.holder(), thing, how) == Truth::True
        };
        clause.resource.is_some()
            && clause.resource == thing.id
            && clause.permissions.holds(Permission::NoteRead)
            && clause.expires.is_none_or(|expires| expires > how.at)
            && clause.condition.as_ref().is_none_or(holds)
    })
}
