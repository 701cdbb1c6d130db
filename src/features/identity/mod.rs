//! Identity: the people of an organization, and their passwords.
//!
//! Owns, in every file, the tables `identity_users`, `identity_links` (invitations and new passwords: single use,
//! digests only) and `identity_erasures` (traces of deleted people that are still to go). Users live in their
//! organization's file, platform administrators in the system file. There is no global user table. Sessions, factors
//! and logging in are slices of their own (`docs/decisions/0018-identity-is-four-slices.md`).
//!
//! What always holds:
//! - seats are exact: a row takes one of `maxUsers`, an active user one of `maxActiveUsers`;
//! - passwords are hashed at the edge (argon2id), checked there against the hash that the command names, and only
//!   hashes enter the log;
//! - nobody gives a role above its own, and the last active administrator stays one;
//! - whoever is deactivated, deleted or gets a new password has no session left.
//!
//! Must not know: factors, how one logs in, intelligence. Start at `model/user.rs`, then `commands/`.

mod commands;
pub mod http;
pub mod jobs;
pub mod model;
mod password;
mod queries;

pub use commands::{
    Accept, Activate, Approve, ChangePassword, Changes, CreateUser, Deactivate, DeactivateInactive,
    DeleteUser, EraseTraces, Invite, IssueLink, Issued, NameBreakGlass, Purpose, Rehash, RequirePassword,
    ResetPassword, UpdateSelf, UpdateUser, add_user, deletes, erases, forget_deleted, issue_link,
    stamp_login,
};
pub use model::{Link, NewUser, State, User};
pub use password::{HashCost, PasswordPool, hash_password};
pub use queries::{Login, administrator, by_id, by_login, by_user};
