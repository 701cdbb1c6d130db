//! Intelligence: STIX objects of an organization, imported as bundles, queried, and exported as they came.
//!
//! Owns the words *object*, *version*, *bundle*, *import* and *chunk*, and the tables `intel_objects` and
//! `intel_imports`.
//!
//! What always holds:
//! - an object is stored as its own JSON text, only without insignificant white space: an export is
//!   object-for-object the JSON that came in;
//! - one (id, version) has one content for ever; one version of each id is the latest;
//! - an import is a job that moves through its bundle chunk by chunk, a chunk as a whole or not at all,
//!   and each chunk once: whoever sends the same bundle again continues where it stands;
//! - indicators, actors and campaigns count to their quotas in the transaction that stores them.
//!
//! Must not know: users, plans beyond what quotas says. Start reading at `model/bundle.rs`.

mod commands;
pub mod http;
pub mod model;
mod queries;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

pub use commands::{BeginImport, ImportChunk, StopImport};
