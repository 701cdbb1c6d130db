//! Keys: rotation of the cluster key, which wraps the key of every file, and of the data key of one file.
//!
//! Owns the words *generation* and *rotation*, and the table `keys_generations` of the system file, which says how far
//! the newest generation is: *wanted*, then *active*, then *settled*. The keys themselves never lie in a file or in the
//! log: members hand them to each other, and each keeps its keyring sealed.
//!
//! What always holds:
//! - nothing is sealed under a generation before every member holds it durably;
//! - a generation is forgotten only when no key of a file, no secret, no effect on its way and no entry of any
//!   member's log is sealed under it: from then on copies of those from before open for nobody, which is what makes
//!   an erased organization unreadable in old logs and backups;
//! - whatever stops a rotation (a node that is down, a change of leader), it goes on when that is over.
//!
//! Must not know: which files there are, or how a node keeps its keyring. Start at `jobs.rs`.

mod commands;
pub mod http;
pub mod jobs;
mod queries;

pub use commands::{Advance, Rekey, Rotate, Step, keep_data_key};
pub use queries::{clean_from, data_key, rotating};
