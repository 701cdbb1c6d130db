//! Identity: the people of an organization, and their passwords.
//!
//! Owns the table `identity_users`, in every file: users live in their organization's file, platform administrators
//! in the system file. There is no global user table. Sessions, factors and logging in are slices of their own
//! (`docs/decisions/0018-...`).
//!
//! What always holds: passwords are hashed at the edge (argon2id) and only hashes enter the log.
//!
//! Must not know: plans beyond the seats they allow, intelligence. Start at `commands.rs`.

mod commands;
pub mod http;
pub mod model;
mod password;
mod queries;

pub use commands::{CreateUser, add_user, stamp_login};
pub use model::{NewUser, User};
pub use password::{PasswordPool, hash_password};
pub use queries::{by_email, by_id};
