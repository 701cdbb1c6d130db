//! The lists: the only place that names every command, route and job; and the dispatcher that applies.
//!
//! What always holds: a hub here may list and nothing more. Start at `commands.rs`, then `dispatch.rs`.

pub mod commands;
mod dispatch;
mod gate;
mod jobs;
mod machine;
pub mod routes;

pub use dispatch::{Dispatched, dispatch};
pub use jobs::{Jobs, spawn};
pub use machine::FileMachine;
