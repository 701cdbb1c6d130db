//! Commands, one file a verb.

mod change_plan;
mod erase;
mod provision;
mod register;
mod update;

pub use change_plan::{ChangePlan, Project};
pub use erase::{Destroy, Erase, Orphan};
pub use provision::Provision;
pub(super) use register::Created;
pub use register::{Adopt, Register, RequestChild};
pub use update::Update;
pub(super) use update::needs_of;
