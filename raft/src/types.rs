//! The words of the consensus engine in our dialect.
//!
//! This is the only file that names the engine's types widely: everything else in the crate imports
//! these aliases, so that a new release of the engine is met here first.

use std::{fmt, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::contract::Fault;

/// What is proposed: the body, with the time at which the leader took it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stamped {
    /// Milliseconds since the epoch, stamped by the leader (`clock.rs`).
    pub(crate) at_ms: u64,
    /// The bytes given to `Replica::propose`.
    pub(crate) body: Bytes,
}

impl fmt::Display for Stamped {
    /// Says the size only: bodies never reach a log line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes at {}", self.body.len(), self.at_ms)
    }
}

/// What the membership knows about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Where its peers reach it, `host:port`.
    pub(crate) peer_address: String,
    /// Free text of the application (the URL of its API).
    pub(crate) api_url: String,
    /// Where it stands, as its operator calls it: a room, a site. May be empty.
    pub(crate) zone: String,
    /// Stays a learner until somebody promotes it.
    pub(crate) standby: bool,
}

#[cfg(not(test))]
type Runtime = openraft::impls::TokioRuntime;
#[cfg(test)]
type Runtime = crate::sim::runtime::Runtime;

openraft::declare_raft_types!(
    /// The engine, configured.
    pub(crate) TypeConfig:
        D = Stamped,
        R = Bytes,
        NodeId = u64,
        Node = Node,
        AsyncRuntime = Runtime,
);

/// Where an entry is: the leader that proposed it (term and node) and its index.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// An entry of the log: log id and payload (blank, normal or membership).
pub(crate) type LogEntry = openraft::alias::EntryOf<TypeConfig>;
/// A vote, given or committed.
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// Who votes and who listens, and where in the log that was decided.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// Where and over which membership a snapshot was taken.
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// What a log holds, as the engine asks for it at start.
pub(crate) type LogState = openraft::storage::LogState<TypeConfig>;
/// Called by the log when an append is durable.
pub(crate) type Flushed = openraft::storage::IOFlushed<TypeConfig>;

/// The engine takes storage faults as I/O errors; the text keeps what was attempted.
pub(crate) fn as_io(fault: Fault) -> io::Error {
    io::Error::other(fault)
}
