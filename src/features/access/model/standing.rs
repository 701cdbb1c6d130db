//! Where an actor stands towards one organization.

use crate::kernel::{Permission, Refusal, Role};

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

impl Standing {
    /// Whether the actor may know that the organization exists.
    pub fn sees(self) -> bool {
        self != Self::Stranger
    }

    /// Allows, or refuses: not found to strangers, permission denied to others.
    pub fn require(self, permission: Permission) -> Result<(), Refusal> {
        let (allowed, role) = match self {
            Self::System => (true, "system"),
            Self::Member(role) => (role.holds(permission), role.name()),
            Self::Operator => (operates(permission), Role::PlatformAdmin.name()),
            Self::Overseer => (oversees(permission), "parent_admin"),
            Self::Stranger if permission == Permission::Anyone => (true, ""),
            Self::Stranger => return Err(Refusal::NotFound),
        };
        if allowed {
            return Ok(());
        }
        Err(Refusal::PermissionDenied { required: permission.name().to_owned(), role: role.to_owned() })
    }
}

/// What a platform administrator may do in an organization: operate it, and read none of its content.
fn operates(permission: Permission) -> bool {
    oversees(permission) || permission == Permission::OrganizationPlan
}

/// What an ancestor's administrators may do: run the organization, not read its content.
fn oversees(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::Anyone
            | Permission::OrganizationRead
            | Permission::OrganizationUpdate
            | Permission::UsageReport
    )
}
