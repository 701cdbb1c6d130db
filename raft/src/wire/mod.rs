//! How replicas talk: framed, multiplexed requests over mutual TLS 1.3.
//!
//! Each node opens two connections to each peer it needs: one for consensus and forwarded proposals, one
//! for snapshots, so that a file in transit never stands before a heartbeat. Answers come back on the
//! connection of the request, in any order, matched by number.
//!
//! What always holds:
//! - there is no plaintext port, and no answer to a peer whose certificate does not name it;
//! - a request either surely did not leave ([`CallError::Unsent`]) or has an unknown outcome;
//! - a peer that accepts bytes but answers nothing is given up after [`client::HUNG`].
//!
//! What it must not know: what the bodies mean, and when to elect. Start reading at `frame.rs`, then
//! `client.rs` (asks) and `server.rs` (answers).

pub(crate) mod client;
pub(crate) mod frame;
pub(crate) mod network;
pub(crate) mod server;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    contract::{Fault, FileMark, Grant, JoinRequest, NodeId},
    pki::Authority,
    trust::Trust,
    types::{Node, SnapshotMeta, Vote},
};

/// What a frame asks. An answer carries [`kind::ANSWER`] or [`kind::REFUSED`].
pub(crate) mod kind {
    /// First frame of a connection; not answered.
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const APPEND: u8 = 2;
    pub(crate) const VOTE: u8 = 3;
    pub(crate) const PRE_VOTE: u8 = 4;
    pub(crate) const TRANSFER: u8 = 5;
    pub(crate) const PROPOSE: u8 = 6;
    pub(crate) const READ_INDEX: u8 = 7;
    pub(crate) const CHANGE: u8 = 8;
    pub(crate) const SNAPSHOT_OFFER: u8 = 9;
    pub(crate) const SNAPSHOT_PIECE: u8 = 10;
    pub(crate) const SNAPSHOT_COMMIT: u8 = 11;
    pub(crate) const JOIN: u8 = 12;
    /// A question of the application above.
    pub(crate) const ASK: u8 = 13;
    /// The payload is the answer.
    pub(crate) const ANSWER: u8 = 128;
    /// The payload is a text: why there is no answer.
    pub(crate) const REFUSED: u8 = 129;
}

/// Who speaks on a connection; must agree with its certificate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) node: NodeId,
}

/// A proposal on its way to the leader.
#[derive(Serialize, Deserialize)]
pub(crate) struct Propose {
    pub(crate) within_ms: u64,
    pub(crate) body: Bytes,
}

/// What became of one attempt to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Attempt {
    /// Committed and applied by the leader.
    Done { index: u64, reply: Bytes },
    /// Not written: that node does not lead, or leads without a quorum.
    NotWritten,
    /// Perhaps written, perhaps not.
    Unknown,
}

/// A change of the membership or of the leadership; only the leader performs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    AddLearner {
        node: NodeId,
        about: Node,
    },
    Remove {
        node: NodeId,
        force: bool,
    },
    /// Only asks whether the leader would.
    MayRemove {
        node: NodeId,
        force: bool,
    },
    TransferTo {
        node: NodeId,
    },
    Promote {
        node: NodeId,
    },
    Demote {
        node: NodeId,
        force: bool,
    },
}

/// What the leader says to a [`Change`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Changed {
    Done,
    /// That node does not lead, or another change is not committed yet: ask again.
    NotNow,
    Refused(String),
}

/// The leader offers a snapshot: where it stands, and the files as they are now.
#[derive(Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) transfer: u64,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) files: Vec<FileMark>,
    /// No entry in them has a later stamp.
    pub(crate) newest_ms: u64,
}

/// What the follower says to an [`Offer`].
#[derive(Serialize, Deserialize)]
pub(crate) enum Want {
    /// The names it does not hold with that mark.
    Files(Vec<String>),
    /// It has seen a later leader.
    HigherVote(Vote),
}

/// A piece of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) enum Piece {
    /// Part of a file; the last part carries the SHA-256 of the whole.
    Part { transfer: u64, file: FileMark, offset: u64, bytes: Bytes, sha256: Option<[u8; 32]> },
    /// The file has been deleted since the offer.
    Gone { transfer: u64, name: String },
}

/// What a joiner is answered.
#[derive(Serialize, Deserialize)]
pub(crate) enum JoinAnswer {
    Welcome {
        authority: Authority,
        grant: Grant,
    },
    Refused(String),
    /// While the cluster goes from one authority to the next.
    WelcomeBetween {
        trust: Trust,
        grant: Grant,
    },
}

/// What a joiner sends.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinAsk {
    pub(crate) request: JoinRequest,
}

/// Why a call brought no answer.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// The request did not leave this node.
    Unsent(String),
    /// The connection broke, or the time ran out, after it may have left.
    Lost(String),
    /// The peer answered that it will not.
    Refused(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(why) => write!(out, "not sent: {why}"),
            Self::Lost(why) => write!(out, "no answer: {why}"),
            Self::Refused(why) => write!(out, "refused: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// Encodes a message.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, Fault> {
    postcard::to_stdvec(message).map(Bytes::from).map_err(|e| Fault::new("encode a message", e))
}

/// Decodes a message.
pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Fault> {
    postcard::from_bytes(payload).map_err(|e| Fault::new("decode a message", e))
}
