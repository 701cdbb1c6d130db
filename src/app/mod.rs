//! The lists: the only place that names every command, route and job; and the dispatcher that applies.
//!
//! And the care for replicas (`care.rs`, `compare.rs`), which stands here because a repair ends in the dispatcher; and the
//! making of files out of a backup (`rebuild.rs`, `arrivals.rs`), for the same reason.
//!
//! What always holds: a hub here may list and nothing more. Start at `commands.rs`, then `dispatch.rs`.

mod arrivals;
mod care;
pub mod commands;
mod compare;
mod dispatch;
mod drill;
mod gate;
mod jobs;
mod machine;
mod rebuild;
mod restores;
pub mod routes;
mod spool;
mod takeover;

pub use arrivals::{ARRIVING, ASIDE, arrivals};
pub use care::{ScrubPace, care};
pub use dispatch::{Dispatched, dispatch};
pub use jobs::{Jobs, spawn};
pub use machine::FileMachine;
pub use rebuild::{Far, Log, Rebuild, Rebuilt, undo_laid};
pub use spool::{ENTRIES_MAX, Spooling};
