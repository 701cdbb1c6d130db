//! Policies: stub.
use super::{Circumstances, Truth};
use crate::kernel::{Attributes, Permission, PolicyId};

/// What the policies say: the first that forbids, the first that permits, and how surely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// A policy that forbids, or may.
    pub forbids: Option<(Truth, PolicyId)>,
    /// A policy that permits, or may.
    pub permits: Option<(Truth, PolicyId)>,
}

/// Policies bound to one user.
#[derive(Clone, Debug)]
pub struct Bound {}

impl Bound {
    /// What they say.
    pub fn ask(&self, _: Permission, _: &Attributes, _: &Circumstances) -> PolicyVerdict {
        PolicyVerdict::default()
    }

    /// Whether any of them is about it.
    pub fn concern(&self, _: Permission) -> bool {
        false
    }

    /// Whether one of them can forbid it.
    pub fn may_forbid(&self, _: Permission) -> bool {
        false
    }
}
