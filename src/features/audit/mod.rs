//! Audit: what happened in an organization, as an append-only, hash-chained record.
//!
//! Owns the tables `audit_events` and `audit_personal`. The dispatcher calls [`append`] in every
//! command's own transaction, so there is no change without an event and no event without a change.
//!
//! What always holds: the leaf is RFC 8785 canonical JSON, stored and hashed as bytes, never serialised
//! again; each row's `chain` covers every leaf before it; personal fields stand outside the leaf, which
//! holds only a keyed commitment to them, so that erasing a person leaves the chain whole.
//!
//! Must not know: which commands exist, HTTP beyond its own routes. Start reading at `model.rs`.

mod canonical;
mod commands;
pub mod http;
pub mod model;
mod queries;

#[cfg(any(test, fuzzing))]
pub(crate) use canonical::of_value as canonical_bytes;
pub use commands::{
    Attempt, append, continues, done_to, drop_trail, erase_personal, is_untouched, keep_trail, last_seq,
};
pub use queries::{Trail, chain_at, verify_chain};
