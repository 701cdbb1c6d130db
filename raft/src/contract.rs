//! The contract between replication and what is replicated.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Names a Raft group. One exists today; regions and shards will add more, so it is in the log, in the
/// peer protocol and in every entry from the first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group that holds the system file and every organization.
    pub const MAIN: Self = Self(1);
}

/// Names a node for the life of the cluster; never reused.
pub type NodeId = u64;

/// One committed entry as the machine sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The group whose log holds it.
    pub group: GroupId,
    /// Its place in the log.
    pub index: u64,
    /// The leader's stamp, milliseconds since the epoch; never falls within one leader's term.
    pub at_ms: u64,
    /// What was proposed.
    pub body: Bytes,
}

/// An entry that is committed and applied on the node that answers.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its place in the log.
    pub index: u64,
    /// What [`Machine::apply`] answered.
    pub reply: Bytes,
}

/// This node failed: what was attempted, and why it did not work. It must halt, not answer.
#[derive(Debug)]
pub struct Fault {
    attempt: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    /// A fault with the error that caused it.
    pub fn new(
        attempt: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { attempt: attempt.into(), cause: Some(cause.into()) }
    }

    /// A fault found by a check of our own.
    pub fn found(what: impl Into<String>) -> Self {
        Self { attempt: what.into(), cause: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(out, "{}: {cause}", self.attempt),
            None => out.write_str(&self.attempt),
        }
    }
}

impl std::error::Error for Fault {}

/// Why a proposal or a read barrier got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No leader is known, or no quorum answers: nothing was written.
    NoQuorum,
    /// The time ran out after the proposal left: it may or may not be applied.
    OutcomeUnknown,
    /// This node is stopping or has met a fault.
    Halted,
    /// The proposal is larger than [`Config::proposal_bytes_max`].
    TooLarge,
}

/// A file of the machine at a moment.
///
/// Two replicas whose files have equal `name` and `mark` hold the same content, because apply is
/// deterministic; their bytes differ, because pages carry random nonces. So a snapshot moves only
/// the files whose marks differ, and a hash guards what is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Path relative to the machine's folder, with `/` between parts.
    pub name: String,
    /// Index of the last entry applied to it.
    pub mark: u64,
    /// Bytes that travel with the file and mean something only to the machine (its wrapped key).
    pub seal: Vec<u8>,
}

/// A deterministic state machine over named files.
///
/// `apply` and `install` are never called at the same time; the others may run beside `apply`.
/// All are called from threads that may block.
pub trait Machine: Send + Sync + 'static {
    /// Applies entries in order and answers one reply for each: no bytes, and only then, for an entry that was
    /// applied before. Readers need not see the effects before [`Machine::settle`]. An error halts the node.
    fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault>;

    /// Shows readers the effects of every entry applied so far. Called soon after [`Machine::apply`], by the
    /// same thread: at once when a reader waits, else once for many batches. An error halts the node.
    fn settle(&self) -> Result<(), Fault>;

    /// Makes every effect of entries settled before the call durable.
    fn checkpoint(&self) -> Result<(), Fault>;

    /// Lists the files as they are now, in name order.
    fn files(&self) -> Result<Vec<FileMark>, Fault>;

    /// Writes a consistent copy of one file to `to` while writers go on; answers its mark, which may be
    /// higher than [`Machine::files`] said. `None` when the file has been deleted meanwhile.
    fn export(&self, name: &str, to: &Path) -> Result<Option<FileMark>, Fault>;

    /// Replaces the machine's files: `keep` stay, `take` come from `staged` (under their names, already
    /// fsynced), all others go. A crash at any instant leaves the old set, the new set, or a set that
    /// the next start completes.
    fn install(&self, staged: &Path, keep: &[FileMark], take: &[FileMark]) -> Result<(), Fault>;
}

/// A future in a box, so that [`Application`] can be a trait object.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a node that wants to join says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The secret part of its one-time token.
    pub secret: String,
    /// The id it wants.
    pub node: NodeId,
    /// Where its peers will reach it, `host:port`.
    pub peer_address: String,
    /// Free text carried to every node in the membership (the URL of its API).
    pub api_url: String,
    /// Where it stands, as its operator calls it.
    pub zone: String,
    /// Bytes that mean something only to the application (what the node is made of).
    pub about: Vec<u8>,
}

/// What a joiner gets beside its certificate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Grant {
    /// Bytes that mean something only to the application (the cluster's secrets).
    pub secrets: Vec<u8>,
}

/// Seals what must not lie on disk in the clear: the key of the cluster's authority.
///
/// Its keys may change, and the members of a cluster hold the same ones: what one sealed, the others can open.
pub trait Safe: Send + Sync {
    /// Seals under the newest key.
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Opens what was sealed under any key that is still held.
    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Whether the newest key sealed it.
    fn is_newest(&self, sealed: &[u8]) -> bool;
}

/// What a replica asks of the application above it.
pub trait Application: Send + Sync + 'static {
    /// Decides who may join; asked on the node that the joiner reached. Spends the token, or says why not (the
    /// text goes to the joiner).
    fn admit(&self, request: JoinRequest) -> Later<'_, Result<Grant, String>>;

    /// Answers what the application of another member asked ([`Replica::ask`](crate::Replica::ask)), or says why
    /// not.
    fn answer(&self, from: NodeId, question: Bytes) -> Later<'_, Result<Bytes, String>>;

    /// What seals this node's secrets.
    fn safe(&self) -> &dyn Safe;
}

/// How a replica runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Folder for the log, the checkpoint record, certificates and snapshots in transit.
    pub folder: PathBuf,
    /// Where this node listens for peers.
    pub peer_listen: SocketAddr,
    /// What peers are told to connect to, `host:port`.
    pub peer_advertise: String,
    /// Carried to every node in the membership (the URL of this node's API).
    pub api_url: String,
    /// Where this node stands, as its operator calls it. May be empty.
    pub zone: String,
    /// How long a joiner keeps up before it votes, once there are three voters.
    pub stabilization: Duration,
    /// Time between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Shortest and longest time without a heartbeat before an election.
    pub election: (Duration, Duration),
    /// Size of one preallocated log segment.
    pub segment_bytes: u64,
    /// Largest proposal taken.
    pub proposal_bytes_max: usize,
    /// How often, at most, the files are checkpointed and the log purged below.
    pub checkpoint_every: Duration,
    /// Entries kept below the checkpoint so that a short absence needs no snapshot.
    pub keep_entries: u64,
    /// Nothing is cut from the log before [`Replica::hold`](crate::Replica::hold) has said what somebody still needs.
    pub held_at_start: bool,
}
