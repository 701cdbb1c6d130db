//! Organizations: the tree of customers, their plans, profiles and settings.
//!
//! Owns `organizations_registry` (who exists, unique slug and domain, the tree) and `organizations_erased` in the
//! system file, and
//! `organizations_profile` and `organizations_children` in each organization's own file.
//!
//! What always holds:
//! - slug and domain are unique across the installation: the registry decides, in apply;
//! - an organization exists for its callers once its own file does: the registry sends `provision` by
//!   the outbox, and the request that created it waits for that;
//! - an erased organization leaves its id and nothing else: its file goes with its key, on every node;
//! - the plan is decided in the organization's file, which knows its use; the registry is told.
//!
//! Must not know: passwords, intelligence. Start at `model/mod.rs`, then `commands/register.rs`.

mod commands;
pub mod http;
pub mod model;
mod queries;
mod view;

pub use commands::{
    Adopt, ChangePlan, Destroy, Erase, Orphan, Project, Provision, Register, RequestChild, Update,
};
pub use queries::{erased, last_erased};
