//! Permissions and roles, as the one table that decides them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Something a command or a read needs. Written `action:resource` at every border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Log in, and other things an anonymous caller may ask for.
    Anyone,
    /// Only the installation itself: bootstrap, outbox, jobs.
    SystemOnly,
    /// Create organizations and see the registry.
    RegistryManage,
    /// Mint join tokens and change the cluster.
    ClusterManage,
    /// See an organization, its settings, quotas and usage.
    OrganizationRead,
    /// Change an organization's name, contact and settings.
    OrganizationUpdate,
    /// Change an organization's plan.
    OrganizationPlan,
    /// Create an organization below one's own.
    OrganizationChild,
    /// Report and release usage.
    UsageReport,
    /// See users.
    UserRead,
    /// Create users and change their roles.
    UserManage,
    /// Invite people, and see to one's team.
    TeamMemberManage,
    /// Change one's own profile, password and factors.
    OwnAccount,
    /// Take a lost second factor from another user.
    MfaReset,
    /// Change how members must prove who they are.
    SecurityManage,
    /// Read threat intelligence.
    IndicatorRead,
    /// Import threat intelligence.
    IndicatorCreate,
    /// Export threat intelligence as STIX.
    DataExport,
    /// Read the audit trail.
    AuditLogRead,
}

impl Permission {
    /// Every permission, in the order of the golden matrix.
    pub const ALL: &[Self] = &[
        Self::Anyone,
        Self::SystemOnly,
        Self::RegistryManage,
        Self::ClusterManage,
        Self::OrganizationRead,
        Self::OrganizationUpdate,
        Self::OrganizationPlan,
        Self::OrganizationChild,
        Self::UsageReport,
        Self::UserRead,
        Self::UserManage,
        Self::TeamMemberManage,
        Self::OwnAccount,
        Self::MfaReset,
        Self::SecurityManage,
        Self::IndicatorRead,
        Self::IndicatorCreate,
        Self::DataExport,
        Self::AuditLogRead,
    ];

    /// The permission's name, `action:resource`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::SystemOnly => "system_only",
            Self::RegistryManage => "manage:registry",
            Self::ClusterManage => "manage:cluster",
            Self::OrganizationRead => "read:organization",
            Self::OrganizationUpdate => "update:organization",
            Self::OrganizationPlan => "update:plan",
            Self::OrganizationChild => "create:child_organization",
            Self::UsageReport => "report:usage",
            Self::UserRead => "read:user",
            Self::UserManage => "manage:user",
            Self::TeamMemberManage => "manage:team_member",
            Self::OwnAccount => "manage:own_account",
            Self::MfaReset => "reset:mfa",
            Self::SecurityManage => "manage:security",
            Self::IndicatorRead => "read:indicator",
            Self::IndicatorCreate => "create:indicator",
            Self::DataExport => "export:data",
            Self::AuditLogRead => "read:audit_log",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A built-in role. Each inherits the one above it; `platform_admin` stands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and creates.
    Analyst,
    /// Also exports STIX.
    SeniorAnalyst,
    /// Also reads the audit trail and the members.
    TeamLead,
    /// Everything in its own organization.
    Admin,
    /// Operates the installation; belongs to no organization.
    PlatformAdmin,
}

impl Role {
    /// Every role, lowest first.
    pub const ALL: &[Self] =
        &[Self::Analyst, Self::SeniorAnalyst, Self::TeamLead, Self::Admin, Self::PlatformAdmin];

    /// Their names.
    pub const NAMES: &[&str] = &["analyst", "senior_analyst", "team_lead", "admin", "platform_admin"];
    /// The names of those that a member of an organization other than `system` may have.
    pub const MEMBER_NAMES: &[&str] = &["analyst", "senior_analyst", "team_lead", "admin"];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::SeniorAnalyst => "senior_analyst",
            Self::TeamLead => "team_lead",
            Self::Admin => "admin",
            Self::PlatformAdmin => "platform_admin",
        }
    }

    /// Whether the role holds the permission in its own organization (for platform administrators: `system`).
    pub fn holds(self, permission: Permission) -> bool {
        match permission {
            Permission::SystemOnly => false,
            Permission::RegistryManage | Permission::ClusterManage | Permission::OrganizationPlan => {
                self == Self::PlatformAdmin
            }
            Permission::Anyone
            | Permission::OwnAccount
            | Permission::OrganizationRead
            | Permission::UsageReport => true,
            Permission::IndicatorRead | Permission::IndicatorCreate => self <= Self::Admin,
            Permission::DataExport => self >= Self::SeniorAnalyst && self <= Self::Admin,
            Permission::AuditLogRead | Permission::UserRead | Permission::TeamMemberManage => {
                self >= Self::TeamLead
            }
            Permission::UserManage
            | Permission::MfaReset
            | Permission::SecurityManage
            | Permission::OrganizationUpdate => self >= Self::Admin,
            Permission::OrganizationChild => self == Self::Admin,
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|role| role.name() == text).ok_or(())
    }
}
