//! Words that every other module shares: ids, time, actors, permissions, refusals, faults, secrets, pages.
//!
//! What always holds: nothing here reads a clock, draws a random number, opens a file or knows HTTP or
//! SQL. Start reading at `refusal.rs` and `fault.rs`: the split between them is the product's backbone.

mod actor;
mod attributes;
mod fault;
mod hex;
mod ids;
mod network;
mod page;
mod permission;
mod refusal;
mod secret;
mod time;

pub use actor::{Actor, Origin};
pub use attributes::{Attributes, Field, Level};
pub use fault::Fault;
pub use hex::{from_hex, to_hex};
pub use ids::{
    EventId, FactorId, FileId, GrantId, GroupId, JobId, NoteId, OrgId, OutboxId, PolicyId, RecordId,
    RequestId, RoleId, SessionId, TokenId, UserId,
};
pub use network::Network;
pub use page::{Page, Window};
pub use permission::{LIMITED_SETTINGS, Permission, PermissionSet, ROLES, Role, RoleRow, When};
pub use refusal::{FieldError, Overage, Refusal};
pub use secret::Secret;
pub use time::{DAY_MS, Millis, Period};
