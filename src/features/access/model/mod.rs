//! The engine of decisions: conditions, rules, what one actor may do. Pure: it knows no SQL, no HTTP and no clock.
//!
//! Start at `compiled.rs`.

mod compiled;
mod condition;
mod policy;
mod rule;
mod standing;
#[cfg(test)]
mod tests;
mod window;

pub use compiled::{
    Clause, Compiled, Decision, Proven, Reason, Source, UNDENIABLE, Verdict, clause_view, condition_of,
};
pub use condition::{Circumstances, Condition, DEPTH_MAX, Holder, PARTS_MAX, Truth, VALUES_MAX};
pub use policy::{
    Bound, External, FLAWED, POLICIES_MAX, Policies, Policy, PolicyVerdict, SLICE_MAX, TEXT_BYTES_MAX, scope,
    type_name,
};
pub use rule::{
    CustomRole, Effect, GRANTS_MAX, GROUPS_MAX, Given, Grant, Group, Holding, Patterns, ROLES_MAX, RULES_MAX,
    RoleRef, RoleRule, Subject,
};
pub use standing::Standing;
pub(in crate::features::access) use window::local;
