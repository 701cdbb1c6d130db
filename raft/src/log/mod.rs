//! The log: votes and entries of one Raft group, in one stream, written by one thread.
//!
//! Words: a *segment* is a file; a *frame* is what one write put there; a *record* is one thing said
//! (an entry, a vote, the committed position, a truncation, a purge); the *marks* are what holds
//! beside the entries. A *body* is the bytes of an entry; *held* means in memory.
//!
//! What always holds:
//! - nothing is acknowledged before the `fdatasync` that covers it returned;
//! - the file says things in the order in which they were asked, so after a crash the log is what it
//!   was after some prefix of the requests, and all that was acknowledged is in that prefix;
//! - every segment repeats the marks in its first record, so any number of the oldest can go;
//! - a segment has its name only when its header is durable, and a durable name before its first
//!   frame; it is durable as a whole before the next has its first frame;
//! - no byte of a file is written twice after its zeros, and no file is used again;
//! - the first failed write or sync breaks the log for good.
//!
//! It trusts the disk in this: a sector that was synced is not harmed by a torn write to its other
//! bytes (which SQLite calls power-safe overwrite, and assumes too).
//!
//! Only `store.rs` knows the consensus engine; the rest moves bytes.
//!
//! Start at `engine.rs`; the format is in `segment.rs` and `record.rs`, the rules that tell a torn
//! end from damage in `recover.rs` and `durable.rs`.

mod disk;
mod durable;
mod engine;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod keeper;
mod read;
mod record;
mod recover;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use engine::LogStats;
pub(crate) use store::LogStore;
#[cfg(test)]
pub(crate) use store::Pen;
