//! Sessions: what a login leaves behind, and how a caller is recognised by it.
//!
//! Owns the table `sessions_open`, in every file: a session lives in its user's file, and a row is a session that has
//! not been ended. Other slices call [`open`], [`renew`] and [`end_all`] inside their own commands.
//!
//! What always holds: an access token carries no permissions, they are looked up when used; what a node looked up is
//! forgotten there when the file's epoch changes (`store/epochs.rs`), so an ended session ends everywhere at once;
//! apply decides nothing for a session that has ended.
//!
//! Must not know: passwords, factors, plans. Start at `commands.rs`, then `recognise.rs`.

mod commands;
pub mod model;
mod queries;
mod recognise;
mod tokens;

pub use commands::{end_all, open, renew};
pub use model::{Authenticated, NewSession};
pub use queries::authenticated;
pub use recognise::Recogniser;
pub use tokens::{Claims, TOKEN_SECONDS, Tokens, mint_signing_key};
