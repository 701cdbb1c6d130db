//! Sessions: what a login leaves behind, how a caller is recognised by it, and the tokens that say so.
//!
//! Owns the tables `sessions_open` and `sessions_policy` in every file (a session lives in its user's file, and a row is
//! a session that has not been ended), and `sessions_keys` of the system file. Other slices call [`open`], [`prove_again`]
//! and [`end_all`] inside their own commands; whoever logs somebody in draws a [`Grant`] before and tells it after.
//!
//! What always holds:
//! - an access token carries no permissions, they are looked up when used; what a node looked up is forgotten there when
//!   the file's epoch changes (`store/epochs.rs`), so an ended session ends everywhere at once;
//! - a refresh token is good once; files and the log know it by its digest alone; a used-up one ends its session;
//! - a signing key is published before it is used, and kept while its tokens are good;
//! - apply decides nothing for a session that has ended.
//!
//! Must not know: passwords, factors, plans. Start at `commands/mod.rs`, then `recognise.rs`;
//! `docs/decisions/0020-sessions-and-their-tokens.md` says why.

mod commands;
mod grant;
pub mod http;
pub mod jobs;
pub mod model;
mod queries;
mod recognise;
pub mod refresh;
mod signing;
mod tokens;

pub use commands::{
    AdvanceKeys, EndOwn, EndUsers, Expire, Refresh, ResealKeys, RotateKeys, SetPolicy, StampSeen, end_all,
    found, open, prove_again,
};
pub use grant::Grant;
pub use model::{Authenticated, NewKey, NewSession, Opened};
pub use queries::authenticated;
pub use recognise::Recogniser;
pub use signing::Tokens;
pub use tokens::{AUDIENCE, Claims, KeySet, draw_key};
