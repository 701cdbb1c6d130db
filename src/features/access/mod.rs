//! Access: who may do what in an organization.
//!
//! Owns the table `access_grants`; reads roles from `identity_users` and open sessions from
//! `sessions_open` of the same file. Other slices call
//! [`require`] through the dispatcher, and [`Standing`] for early refusals at the edge.
//!
//! What always holds: the final decision is made in apply, from rows of the command's own file. An actor
//! of another organization acts here only through a grant row that was projected into this file, and is
//! told "not found" otherwise. A platform administrator operates organizations and reads no content.
//!
//! Must not know: HTTP, plans. The table of roles is `kernel/permission.rs`. Start at `model.rs`.

mod commands;
pub mod model;
mod queries;

pub use commands::{grant, require};
pub use model::Standing;
pub use queries::{organization_named, role_of, standing};
