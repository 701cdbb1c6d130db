//! Access: who may do what in an organization.
//!
//! Owns the tables `access_*`: custom roles and who holds them, groups and who is in them, grants and denials, policies, and
//! the organizations above that oversee this one. Reads roles from `identity_users` and open sessions from `sessions_open` of the same
//! file. A *standing* is where an
//! actor stands (member, overseer, operator, stranger); its *floor* is what it can ever be allowed. A *grant* allows or denies.
//!
//! What always holds: the final decision is made in apply, from rows of the command's own file, in the order floor, denials,
//! allowances, no. A denial always wins, but never takes from holders of the built-in `admin` what it takes to undo it. Nobody
//! gives what they do not hold. An actor of another organization acts here only through a row that was projected into this
//! file, and is told "not found" otherwise. A platform administrator operates organizations and reads no content.
//!
//! Must not know: plans, and what things the permissions are about look like beyond [`crate::kernel::Attributes`]. The tables
//! of permissions and built-in roles are in `kernel/permission.rs`. Start at `model/compiled.rs`; [`require`] is what the
//! dispatcher calls.

mod commands;
pub mod http;
pub mod jobs;
pub mod model;
mod queries;
mod recall;

pub use commands::{
    DeleteGrant, DeleteGroup, DeletePolicy, DeleteRole, ForgetExpired, GiveRole, SaveGrant, SaveGroup,
    SavePolicy, SaveRole, SetMember, TakeRole, circumstances_of, forget_subject, forget_user, oversee,
    require, require_for, require_may_give_role,
};
pub use model::{Circumstances, Compiled, External, Standing, Verdict};
pub use queries::{
    Collaborators, Columns, Filter, Seek, compiled, filter, group_names_of, organization_named, role_of,
};
pub use recall::Recall;
