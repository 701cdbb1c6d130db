//! Login: from a claim of who somebody is to a session.
//!
//! The slice where identity, factors and sessions meet: it finds the organization, slows guessing down, has the
//! password verified, and opens the session in one command that decides all of it again. Owns the table
//! `login_failures` in every file, `login_domains` (claims) in an organization's and `login_routes` (where addresses of
//! proven domains lead) in the system file.
//!
//! What always holds:
//! - unknown and wrong are answered alike, and cost the same; what fails is an event in the trail of the organization
//!   that was named, or of the installation when there is none;
//! - failures are counted in the log, so every node knows them; they slow down one source at one account most, and an
//!   account as a whole only for sources that it does not know: a stranger can lock nobody out (`model.rs`);
//! - nobody gets a session who must choose a new password first.
//!
//! Must not know: how tokens are signed, plans. Start at `password.rs`.

mod commands;
mod dns;
pub mod http;
mod mfa;
pub mod model;
mod password;
mod queries;
mod recover;
mod throttle;

pub use commands::{
    ClaimDomain, DemandPassword, Method, OpenSession, ProjectDomain, ProveDomain, Recover, RefuseLogin,
    ReleaseDomain, UnprojectDomain, attest, forget_domains,
};
pub use password::Desk;
pub use recover::{RECOVERY_CONTEXT, Statement};
pub use throttle::Throttle;
