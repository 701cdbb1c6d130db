//! Consensus and replication: bytes in, bytes out.
//!
//! A [`Machine`] is a deterministic state machine over named files; a [`Replica`] is one node of the
//! group that replicates it. This crate knows no organization, no SQL and no route, and no type of the
//! consensus engine beneath it leaves it.
//!
//! What always holds:
//! - an entry is acknowledged only after its bytes were `fdatasync`ed on a majority;
//! - [`Machine::apply`] sees committed entries only, in index order, one batch at a time;
//! - after a crash it may see entries again that it has applied (each file skips by its own mark);
//! - a [`Fault`] stops the node: nothing is answered after it.
//!
//! Start reading here, then `replica.rs`.

mod archive;
mod ask;
mod checkpoint;
mod clock;
mod contract;
mod cut;
mod figures;
mod freshness;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod house;
mod lag;
mod log;
mod machine;
mod membership;
mod pki;
mod planted;
mod replica;
mod rotation;
#[cfg(test)]
mod sim;
mod snapshot;
mod status;
mod task;
mod trust;
mod types;
mod voters;
mod watch;
mod wire;

pub use archive::{Stretch, Unread};
pub use contract::{
    Application, Committed, Config, Entry, Fault, FileMark, Grant, GroupId, JoinRequest, Later, Machine,
    NodeId, Safe, Unavailable,
};
pub use figures::{Figures, Took};
pub use log::LogStats;
pub use membership::{Admitted, ChangeError, JoinError, Token};
pub use planted::{planted, planted_with};
pub use replica::{Leadership, Replica};
pub use rotation::{Certificates, NewAuthority};
pub use status::{Member, Status};
pub use trust::Step;
