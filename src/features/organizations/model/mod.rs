//! What an organization is.

mod details;
mod names;

use serde::{Deserialize, Serialize};

pub use details::Details;
pub use names::{Domain, Slug};

use crate::{
    features::quotas::Plan,
    kernel::{Millis, OrgId},
};

/// Deepest place in the tree; a root is at 1.
pub const DEPTH_MAX: u32 = 5;
/// Length of a trial.
pub const TRIAL_DAYS: i64 = 14;

/// An organization as it is created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewOrganization {
    /// Its id.
    pub id: OrgId,
    /// Unique across the installation.
    pub slug: Slug,
    /// Unique across the installation.
    pub domain: Domain,
    /// What it subscribes to.
    pub plan: Plan,
    /// Where its data is to lie.
    pub region: String,
    /// The organization above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OrgId>,
    /// What its members may change.
    pub details: Details,
}

/// An organization's own row.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id.
    pub id: OrgId,
    /// Its slug.
    pub slug: String,
    /// Its domain.
    pub domain: String,
    /// Its plan.
    pub plan: Plan,
    /// `trial`, `active`, `past_due`, `suspended` or `cancelled`.
    pub status: String,
    /// The organization above it.
    pub parent: Option<OrgId>,
    /// Where its data lies.
    pub region: String,
    /// What its members may change.
    pub details: Details,
    /// When the trial ends.
    pub trial_ends: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
    /// Its row's version.
    pub version: i64,
}

/// An organization's row in the registry.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its id.
    pub id: OrgId,
    /// Its depth in the tree.
    pub depth: u32,
    /// The organization above it.
    pub parent: Option<OrgId>,
}
