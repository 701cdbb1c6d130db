//! Membership: how a cluster begins, and how a node proves that it may join it.
//!
//! Owns the tables `membership_secrets` (what all nodes share, sealed under the cluster key) and
//! `membership_tokens` (one-time join tokens, as digests) and `membership_retired` (numbers of removed nodes) of the
//! system file.
//!
//! What always holds:
//! - a cluster begins once: the first administrator and the secrets come with the entry that creates the
//!   system file, and a second beginning is refused;
//! - a token admits one node: whoever spends it first; unknown, spent and expired ones look the same;
//! - the number of a removed node is never given again: what it once acknowledged counts for nobody else;
//! - neither a token nor a secret stands in the log or in a file in plain text.
//!
//! Must not know: consensus, certificates, files on disk. The node's side of both stories is
//! `node/bootstrap.rs` and `node/admission.rs`. Start at `commands.rs`.

mod commands;
pub mod http;
mod queries;

pub use commands::{
    Bootstrap, Change, MintToken, ReportDivergence, RequestChange, Reseal, SpendToken, resealed, seal_context,
};
pub use queries::{knows_token, last_let_in, secret, secrets};

#[cfg(test)]
mod tests;
