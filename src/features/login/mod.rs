//! Login: from a claim of who somebody is to a session.
//!
//! The slice where identity, factors and sessions meet: it finds the organization, has the password verified, and
//! opens the session in one command that decides all of it again.
//!
//! What always holds: unknown and wrong are answered alike, and cost the same; what fails is an event in the trail of
//! the organization that was named, or of the installation when there is none.
//!
//! Must not know: how tokens are signed, plans. Start at `password.rs`.

mod commands;
pub mod http;
mod mfa;
mod password;

pub use commands::{OpenSession, RefuseLogin};
