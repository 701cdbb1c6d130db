//! Records and notes: pure rules. Start at `record.rs`.

mod kind;
mod note;
mod record;
mod terms;
mod words;

pub use kind::RecordKind;
pub use note::{BODY_BYTES_MAX, DEPTH_MAX, NOTES_MAX, Note, NoteKind, judge_note};
pub use record::{
    COLLABORATORS_MAX, Clearable, Content, LINKS_MAX, METADATA_BYTES_MAX, Record, SIGNATURES_MAX,
    TAG_CHARS_MAX, TAGS_MAX,
};
pub use terms::{QUERY_WORDS_MAX, tag_term, terms_of, words_of};
pub use words::{Classification, Priority, Severity, SourceType, Status};
