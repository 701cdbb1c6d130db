//! Commands, one file a verb.

mod change_plan;
mod provision;
mod register;
mod update;

pub use change_plan::{ChangePlan, Project};
pub use provision::Provision;
pub use register::{Adopt, Created, Register, RequestChild};
pub use update::Update;
