//! Permissions as (action, resource type), and the built-in roles with their conditions: the two tables that
//! decide them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Declares the permissions once: name, action, resource type. A macro, so that the list, the names and the
/// numbers cannot part.
macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $action:literal : $resource:literal;)*) => {
        /// Something a command or a read needs. Written `action:resource` at every border.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// Every permission, in the order of the golden matrix.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            const NAMES: &[(&str, &str, &str)] =
                &[$((concat!($action, ":", $resource), $action, $resource),)*];
        }
    };
}

permissions! {
    /// Log in, and other things an anonymous caller may ask for.
    Anyone = "":"";
    /// Only the installation itself: bootstrap, outbox, jobs.
    SystemOnly = "":"";
    /// Create organizations and see the registry.
    RegistryManage = "manage":"registry";
    /// Mint join tokens and change the cluster.
    ClusterManage = "manage":"cluster";
    /// See an organization, its quotas and usage.
    OrganizationRead = "read":"organization";
    /// Change an organization's name, contact and settings.
    OrganizationUpdate = "update":"organization";
    /// Change an organization's plan.
    OrganizationPlan = "update":"plan";
    /// Create an organization below one's own.
    OrganizationChild = "create":"child_organization";
    /// Report and release usage.
    UsageReport = "report":"usage";
    /// See an organization's settings.
    SettingsRead = "read":"organization_settings";
    /// Change an organization's settings.
    SettingsUpdate = "update":"organization_settings";
    /// See users.
    UserRead = "read":"user";
    /// Create users.
    UserCreate = "create":"user";
    /// Change users' profiles.
    UserUpdate = "update":"user";
    /// Delete users.
    UserDelete = "delete":"user";
    /// Whatever there is to do with users, their roles included.
    UserManage = "manage":"user";
    /// Run a team: its members' assignments.
    TeamMemberManage = "manage":"team_member";
    /// Change one's own profile, password, factors and sessions.
    OwnAccount = "manage":"own_account";
    /// Define custom roles and give them.
    RoleManage = "manage":"role";
    /// Grant and deny.
    GrantManage = "manage":"grant";
    /// Define groups and their members.
    GroupManage = "manage":"group";
    /// Write policies.
    PolicyManage = "manage":"policy";
    /// See other users' sessions.
    SessionRead = "read":"session";
    /// End other users' sessions.
    SessionEnd = "end":"session";
    /// Take a lost second factor from another user.
    MfaReset = "reset":"mfa";
    /// Ask what a token says.
    TokenIntrospect = "introspect":"token";
    /// Change how members must prove who they are.
    SecurityManage = "manage":"security";
    /// Ask what others may do.
    AccessCheck = "check":"access";
    /// Export who holds what, and why.
    AccessReview = "read":"access_review";
    /// Read the audit trail.
    AuditLogRead = "read":"audit_log";
    /// Read threat intelligence.
    IndicatorRead = "read":"indicator";
    /// Import threat intelligence.
    IndicatorCreate = "create":"indicator";
    /// Change indicators.
    IndicatorUpdate = "update":"indicator";
    /// Delete indicators.
    IndicatorDelete = "delete":"indicator";
    /// Export data; the format is a condition.
    DataExport = "export":"data";
    /// Read investigations.
    InvestigationRead = "read":"investigation";
    /// Open investigations.
    InvestigationCreate = "create":"investigation";
    /// Change investigations.
    InvestigationUpdate = "update":"investigation";
    /// Assign investigations.
    InvestigationAssign = "assign":"investigation";
    /// Delete investigations.
    InvestigationDelete = "delete":"investigation";
    /// Read cases.
    CaseRead = "read":"case";
    /// Open cases.
    CaseCreate = "create":"case";
    /// Change cases.
    CaseUpdate = "update":"case";
    /// Assign cases.
    CaseAssign = "assign":"case";
    /// Delete cases.
    CaseDelete = "delete":"case";
    /// Read activities.
    ActivityRead = "read":"activity";
    /// Record activities.
    ActivityCreate = "create":"activity";
    /// Change activities.
    ActivityUpdate = "update":"activity";
    /// Delete activities.
    ActivityDelete = "delete":"activity";
    /// Read notes.
    NoteRead = "read":"note";
    /// Write notes.
    NoteCreate = "create":"note";
    /// Change notes.
    NoteUpdate = "update":"note";
    /// Delete notes.
    NoteDelete = "delete":"note";
    /// Exchange data with a SIEM.
    SiemIntegrate = "integrate":"siem";
    /// Configure how a SIEM is reached.
    SiemConfigure = "configure":"siem_integration";
}

impl Permission {
    fn row(self) -> (&'static str, &'static str, &'static str) {
        Self::NAMES.get(self as usize).copied().unwrap_or(("", "", ""))
    }

    /// The permission's name, `action:resource`; a word of its own for the two that no rule can be about.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::SystemOnly => "system_only",
            other => other.row().0,
        }
    }

    /// What is done.
    pub fn action(self) -> &'static str {
        self.row().1
    }

    /// The type of thing that it is done to.
    pub fn resource(self) -> &'static str {
        self.row().2
    }

    const fn bit(self) -> u128 {
        1 << (self as u32)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|permission| permission.name() == text).ok_or(())
    }
}

/// A set of permissions: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermissionSet(u128);

impl PermissionSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// What everybody has of an organization who is in it, and nobody can be denied.
    pub const OPEN: Self = Self::of(&[Permission::Anyone, Permission::OwnAccount]);
    /// What custom rules of an organization can be about: all that its own administrators hold, but what is open to
    /// everybody. They narrow this floor and never widen it.
    pub const GRANTABLE: Self = Self::all()
        .without(Self::of(PLATFORM_ALONE))
        .without(Self::OPEN)
        .without(Self::of(&[Permission::SystemOnly]));

    /// These.
    pub const fn of(permissions: &[Permission]) -> Self {
        let (mut set, mut rest) = (0, permissions);
        while let [first, others @ ..] = rest {
            set |= first.bit();
            rest = others;
        }
        Self(set)
    }

    /// Every permission there is.
    pub const fn all() -> Self {
        Self::of(Permission::ALL)
    }

    /// Whether it holds the permission.
    pub const fn holds(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its permissions, in order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.holds(*permission))
    }

    /// What `action:resource` selects among those that custom rules can be about; either part may be `*`.
    /// `None` when that is nothing.
    pub fn selected(text: &str) -> Option<Self> {
        let (action, resource) = text.split_once(':')?;
        let fits = |permission: &Permission| {
            (action == "*" || action == permission.action())
                && (resource == "*" || resource == permission.resource())
        };
        let chosen: Vec<_> = Self::GRANTABLE.iter().filter(fits).collect();
        (!chosen.is_empty()).then(|| Self::of(&chosen))
    }
}

/// A built-in role. Each inherits the one above it; `platform_admin` stands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and creates.
    Analyst,
    /// Also changes and assigns.
    SeniorAnalyst,
    /// Also deletes investigations, reads the audit trail and runs the team.
    TeamLead,
    /// Everything in its own organization.
    Admin,
    /// Operates the installation; belongs to no organization.
    PlatformAdmin,
}

/// On what condition a built-in role holds a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// The user owns the thing.
    Owner,
    /// The format is one of these.
    FormatIn(&'static [&'static str]),
    /// Nothing is written on the other side.
    ReadOnly,
    /// Only the limited settings change: timezone, dateFormat, inactivityThresholdDays.
    Limited,
}

/// What a built-in role adds to the one it inherits.
pub struct RoleRow {
    /// The role.
    pub role: Role,
    /// The role whose rows it has too.
    pub inherits: Option<Role>,
    /// What it adds, and on what condition.
    pub adds: &'static [(When, &'static [Permission])],
}

/// The settings that a holder of `update:organization_settings if limited` may change.
pub const LIMITED_SETTINGS: &[&str] = &["timezone", "date_format", "inactivity_threshold_days"];

/// What only the platform's administrators do, in the system file or as operators.
const PLATFORM_ALONE: &[Permission] =
    &[Permission::RegistryManage, Permission::ClusterManage, Permission::OrganizationPlan];

/// The built-in roles.
pub const ROLES: &[RoleRow] = &[
    RoleRow {
        role: Role::Analyst,
        inherits: None,
        adds: &[
            (
                When::Always,
                &[
                    Permission::Anyone,
                    Permission::OwnAccount,
                    Permission::OrganizationRead,
                    Permission::UsageReport,
                    Permission::InvestigationRead,
                    Permission::InvestigationCreate,
                    Permission::CaseRead,
                    Permission::CaseCreate,
                    Permission::IndicatorRead,
                    Permission::IndicatorCreate,
                    Permission::ActivityRead,
                    Permission::ActivityCreate,
                    Permission::NoteRead,
                    Permission::NoteCreate,
                ],
            ),
            (When::Owner, &[Permission::NoteUpdate]),
            (When::FormatIn(&["json", "png"]), &[Permission::DataExport]),
        ],
    },
    RoleRow {
        role: Role::SeniorAnalyst,
        inherits: Some(Role::Analyst),
        adds: &[
            (
                When::Always,
                &[
                    Permission::InvestigationUpdate,
                    Permission::InvestigationAssign,
                    Permission::CaseUpdate,
                    Permission::CaseAssign,
                    Permission::IndicatorUpdate,
                    Permission::ActivityUpdate,
                ],
            ),
            (When::Owner, &[Permission::NoteDelete]),
            (When::FormatIn(&["json", "png", "stix"]), &[Permission::DataExport]),
            (When::ReadOnly, &[Permission::SiemIntegrate]),
        ],
    },
    RoleRow {
        role: Role::TeamLead,
        inherits: Some(Role::SeniorAnalyst),
        adds: &[
            (
                When::Always,
                &[
                    Permission::InvestigationDelete,
                    Permission::CaseDelete,
                    Permission::AuditLogRead,
                    Permission::UserRead,
                    Permission::TeamMemberManage,
                    Permission::SiemConfigure,
                    Permission::SettingsRead,
                ],
            ),
            (When::Limited, &[Permission::SettingsUpdate]),
        ],
    },
    // Everything in its own organization: `Role::adds_everything`.
    RoleRow { role: Role::Admin, inherits: Some(Role::TeamLead), adds: &[] },
    RoleRow {
        role: Role::PlatformAdmin,
        inherits: None,
        adds: &[(
            When::Always,
            &[
                Permission::Anyone,
                Permission::OwnAccount,
                Permission::RegistryManage,
                Permission::ClusterManage,
                Permission::OrganizationPlan,
                Permission::OrganizationRead,
                Permission::OrganizationUpdate,
                Permission::UsageReport,
                Permission::SettingsRead,
                Permission::SettingsUpdate,
                Permission::UserRead,
                Permission::UserCreate,
                Permission::UserUpdate,
                Permission::UserDelete,
                Permission::UserManage,
                Permission::SessionRead,
                Permission::SessionEnd,
                Permission::MfaReset,
                Permission::TokenIntrospect,
                Permission::SecurityManage,
                Permission::AuditLogRead,
            ],
        )],
    },
];

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
        Self::NAMES.get(self as usize).copied().unwrap_or("")
    }

    /// The role's row of the table.
    fn row(self) -> Option<&'static RoleRow> {
        ROLES.iter().find(|row| row.role == self)
    }

    /// The role, and those it inherits.
    pub fn lineage(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |role| role.row().and_then(|row| row.inherits))
    }

    /// What the role holds, its inheritance included, with the role that adds it and on what condition.
    pub fn holdings(self) -> Vec<(Self, When, PermissionSet)> {
        let rows = self.lineage().filter_map(Self::row);
        let mut all: Vec<_> = rows
            .flat_map(|row| {
                row.adds.iter().map(move |(when, adds)| (row.role, *when, PermissionSet::of(adds)))
            })
            .collect();
        if self == Self::Admin {
            all.push((self, When::Always, PermissionSet::GRANTABLE));
        }
        all
    }

    /// What the role holds without condition, in its own organization (for platform administrators: `system`).
    pub fn always_holds(self) -> PermissionSet {
        let always = self.holdings().into_iter().filter(|(_, when, _)| *when == When::Always);
        always.fold(PermissionSet::NONE, |all, (_, _, set)| all.with(set))
    }

    /// Whether the role holds the permission, at least on some condition.
    pub fn holds(self, permission: Permission) -> bool {
        self.holdings().iter().any(|(_, _, set)| set.holds(permission))
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|role| role.name() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_holds_what_the_one_below_it_holds() {
        let members = [Role::Analyst, Role::SeniorAnalyst, Role::TeamLead, Role::Admin];
        for pair in members.windows(2) {
            for permission in Permission::ALL {
                let [lower, higher] = pair else { continue };
                assert!(!lower.holds(*permission) || higher.holds(*permission), "{permission}");
            }
        }
    }

    #[test]
    fn a_name_says_its_action_and_its_resource_and_stands_for_one_permission() {
        let names: std::collections::BTreeSet<_> = Permission::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(*permission));
        }
    }

    #[test]
    fn a_pattern_selects_nothing_above_the_organization() {
        assert_eq!(PermissionSet::selected("*:*"), Some(PermissionSet::GRANTABLE));
        let notes = PermissionSet::selected("*:note").map(|set| set.iter().count());
        assert_eq!(notes, Some(4));
        for name in ["manage:cluster", "manage:registry", "update:plan", "system_only", "note", "*:nothing"] {
            assert_eq!(PermissionSet::selected(name), None, "{name}");
        }
    }

    #[test]
    fn only_administrators_hold_what_gives_rights_to_others() {
        let giving = ["manage:role", "manage:grant", "manage:group", "manage:policy", "manage:user"];
        for permission in giving.iter().filter_map(|name| name.parse().ok()) {
            for role in [Role::Analyst, Role::SeniorAnalyst, Role::TeamLead] {
                assert!(!role.holds(permission), "{} holds {permission}", role.name());
            }
            assert!(Role::Admin.holds(permission));
        }
    }
}
