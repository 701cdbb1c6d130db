//! What the invariants see.
#![allow(dead_code)] // some of it is for whoever reads the trace

use crate::contract::NodeId;
use crate::types::{LogId, Vote};

/// One observation. A *start* numbers what runs between two power cuts of a node.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node came up with what its disk held: its vote, its log's ends, its checkpoint.
    Started { node: NodeId, start: u64, vote: Option<Vote>, checkpoint: u64 },
    /// The power of a node went, with what its disk holds for certain.
    Cut { node: NodeId },
    /// A node sent entries or a heartbeat as the leader of that vote.
    Led { node: NodeId, vote: Vote },
    /// An entry was sent: where it stands, and a checksum of what it says.
    Sent { id: LogId, sum: u32 },
    /// A node answered a candidate: its vote from now on, and whether the candidate got it.
    Voted { node: NodeId, vote: Vote, granted: bool },
    /// A node took a leader's entries, so it stands by that leader's vote.
    Followed { node: NodeId, vote: Vote },
    /// A node's machine was given an entry.
    Given { node: NodeId, start: u64, index: u64, at_ms: u64, value: u64 },
    /// A node's machine put an entry into a file, at that place.
    Applied { node: NodeId, file: u8, place: usize, index: u64, value: u64 },
    /// A node's machine took the files of a snapshot.
    Installed { node: NodeId, start: u64 },
    /// A node says how far it has committed and applied.
    Progress { node: NodeId, start: u64, committed: u64, applied: u64 },
    /// A client asked for a write.
    Asked { value: u64, file: u8 },
    /// A client was told that its write is done; `holders` of `voters` hold it if all power goes now.
    Acknowledged { value: u64, index: u64, place: usize, holders: usize, voters: usize },
    /// A client began to read.
    ReadBegan { read: u64, file: u8 },
    /// A client was told what the file holds.
    Read { read: u64, file: u8, values: Vec<u64> },
    /// A node stopped by itself, though its disk is well.
    Halted { node: NodeId, why: String },
    /// Something was done to the group.
    Done { what: &'static str, about: String },
    /// Everything has been repaired.
    Healed,
    /// After the repair: what each member's files hold in the end.
    Ended { node: NodeId, file: u8, values: Vec<u64> },
    /// The group did not come together again.
    Apart { why: String },
}
