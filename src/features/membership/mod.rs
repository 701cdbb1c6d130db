//! Membership: how a cluster begins, and how a node proves that it may join it.
//!
//! Owns the tables of the system file `membership_secrets` (what all nodes share, sealed under the cluster key; its row
//! `rotation` is how far a rotation of the cluster's authority is, and not sealed), `membership_tokens` (one-time join
//! tokens, as digests), `membership_retired` (numbers of removed nodes) and `membership_levels` (which level came into
//! force when, and which version it needs).
//!
//! What always holds:
//! - a cluster begins once: the first administrator and the secrets come with the entry that creates the
//!   system file, and a second beginning is refused;
//! - a token admits one node: whoever spends it first; unknown, spent and expired ones look the same;
//! - the number of a removed node is never given again: what it once acknowledged counts for nobody else;
//! - a step of a rotation begins only after every member was seen to be at the one before it, so that a node may
//!   be down or restart at any moment; one that is dead is removed first;
//! - a level comes into force one above the other, when every node can, and none is ever lowered;
//! - neither a token nor a secret stands in the log or in a file in plain text.
//!
//! Must not know: consensus, certificates, files on disk. The node's side of both stories is
//! `node/bootstrap.rs` and `node/admission.rs`. Start at `commands.rs`.

mod commands;
pub mod http;
pub mod jobs;
pub mod model;
mod queries;

pub use commands::{
    Bootstrap, Change, MintToken, RaiseLevel, ReportDivergence, RequestCertificates, RequestChange, Reseal,
    RotateAuthority, SpendToken, TurnAuthority, begin_anew, resealed, seal_context,
};
pub use queries::{knows_token, last_let_in, level_row, rotation, secret, secrets};

#[cfg(test)]
mod tests;
