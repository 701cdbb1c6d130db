//! Quotas: how much of each resource an organization may hold or use, by its plan.
//!
//! Owns the table `quotas_usage`. Other slices ask for [`take`] and [`give_back`] inside their own
//! command, so that a thing and its count change together or not at all.
//!
//! What always holds:
//! - a quota is exact: with N left, N takes succeed however many clients race on however many nodes;
//! - usage is what rows of this file count plus what other services of the platform reported;
//! - a limit may fall below present use: nothing is taken away, and the next take is refused.
//!
//! Must not know: prices, users, intelligence, HTTP beyond its own routes. Start at `model/resource.rs`.

pub mod calls;
mod commands;
pub mod http;
pub mod jobs;
pub mod model;
mod queries;

pub use commands::{CountCalls, LeaseCalls, MeasureStorage, ReportUsage, give_back, keep_use, recount, take};
pub use model::{Allowance, Plan, Resource};
pub use queries::{allowance, allowances, overages, plan};
