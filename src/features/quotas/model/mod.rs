//! The pure rules: resources, plans, and what an allowance permits.

mod allowance;
mod plan;
mod resource;

pub use allowance::{Allowance, Check, THRESHOLDS};
pub use plan::{Feature, Plan};
pub use resource::{Resource, Stretch};
