//! Where an actor stands towards one organization.

use crate::kernel::{Permission, PermissionSet, Role};

/// Where an actor stands towards one organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The installation itself.
    System,
    /// A member with this role.
    Member(Role),
    /// An administrator of an organization above, through a grant.
    Overseer,
    /// A platform administrator, in an organization's file.
    Operator,
    /// Nobody this organization knows.
    Stranger,
}

/// What an ancestor's administrators may do: run the organization, not read its content, nor give rights to it.
const OVERSEES: PermissionSet = PermissionSet::of(&[
    Permission::Anyone,
    Permission::OrganizationRead,
    Permission::OrganizationUpdate,
    Permission::SettingsRead,
    Permission::SettingsUpdate,
    Permission::UsageReport,
]);

/// What a platform administrator may do in an organization: operate it, and read none of its content.
const OPERATES: PermissionSet = OVERSEES.with(PermissionSet::of(&[Permission::OrganizationPlan]));

impl Standing {
    /// Whether the actor may know that the organization exists.
    pub fn sees(self) -> bool {
        self != Self::Stranger
    }

    /// What such an actor can ever be allowed: no rule of an organization reaches beyond.
    pub fn floor(self) -> PermissionSet {
        match self {
            Self::System | Self::Stranger => PermissionSet::NONE,
            Self::Member(Role::PlatformAdmin) => Role::PlatformAdmin.always_holds(),
            Self::Member(_) => PermissionSet::GRANTABLE.with(PermissionSet::OPEN),
            Self::Overseer => OVERSEES,
            Self::Operator => OPERATES,
        }
    }

    /// A word for it: the member's role, or what stands in its place.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Member(role) => role.name(),
            Self::Overseer => "parent_admin",
            Self::Operator => Role::PlatformAdmin.name(),
            Self::Stranger => "",
        }
    }
}
