//! Identity: who logs in to an organization, and how a caller is recognised.
//!
//! Owns the tables `identity_users` and `identity_sessions`, in every file: users live in their
//! organization's file, platform administrators in the system file. There is no global user table.
//!
//! What always holds: passwords are hashed at the edge (argon2id) and only hashes enter the log; unknown
//! and wrong are answered alike and cost the same; access tokens carry no permissions, they are looked
//! up when used.
//!
//! Must not know: plans beyond the seats they allow, intelligence. Start at `commands.rs`.

mod commands;
pub mod http;
mod login;
pub mod model;
mod password;
mod queries;
mod recognise;
mod tokens;

pub use commands::{CreateUser, OpenSession, RefuseLogin, add_user};
pub use model::NewUser;
pub use password::{PasswordPool, hash_password};
pub use recognise::Recogniser;
pub use tokens::{Claims, Tokens, mint_signing_key};
