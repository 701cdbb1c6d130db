//! Organizations: the tree of customers, their plans, profiles and settings.
//!
//! Owns `organizations_registry` in the system file (who exists, unique slug and domain, the tree), and
//! `organizations_profile` and `organizations_children` in each organization's own file.
//!
//! What always holds:
//! - slug and domain are unique across the installation: the registry decides, in apply;
//! - an organization exists for its callers once its own file does: the registry sends `provision` by
//!   the outbox, and the request that created it waits for that;
//! - the plan is decided in the organization's file, which knows its use; the registry is told.
//!
//! Must not know: passwords, intelligence. Start at `model/mod.rs`, then `commands/register.rs`.

mod commands;
pub mod http;
pub mod model;
mod queries;
mod view;

pub use commands::{Adopt, ChangePlan, Project, Provision, Register, RequestChild, Update};
