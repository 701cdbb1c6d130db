//! What an organization adds to the built-in roles: custom roles, groups, grants and denials.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Condition;
use crate::kernel::{GrantId, GroupId, Millis, PermissionSet, Role, RoleId, UserId};

/// Custom roles of one organization at most.
pub const ROLES_MAX: i64 = 200;
/// Groups of one organization at most.
pub const GROUPS_MAX: i64 = 1_000;
/// Grants and denials of one organization at most.
pub const GRANTS_MAX: i64 = 10_000;
/// Rules of one custom role, and patterns of one rule, at most.
pub const RULES_MAX: usize = 64;

/// Whether a rule gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Gives.
    Allow,
    /// Takes, whatever gives.
    Deny,
}

impl Effect {
    /// Their names.
    pub const NAMES: &[&str] = &["allow", "deny"];

    /// The effect's name.
    pub fn name(self) -> &'static str {
        if self == Self::Allow { "allow" } else { "deny" }
    }
}

impl FromStr for Effect {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            _ => Err(()),
        }
    }
}

/// A role by what it is called: a built-in one by its name, a custom one by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleRef {
    /// A built-in role of members.
    BuiltIn(Role),
    /// A custom role.
    Custom(RoleId),
}

impl fmt::Display for RoleRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(role) => out.write_str(role.name()),
            Self::Custom(id) => id.fmt(out),
        }
    }
}

impl FromStr for RoleRef {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if Role::MEMBER_NAMES.contains(&text) {
            return text.parse().map(Self::BuiltIn);
        }
        text.parse().map(Self::Custom).map_err(|_| ())
    }
}

/// Whom a rule is about. Written `everyone`, `user:<id>`, `group:<id>`, `role:<name or id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Every member of the organization.
    Everyone,
    /// One user.
    User(UserId),
    /// Every user in a group.
    Group(GroupId),
    /// Every user with a role. What is allowed to a role is allowed to those that inherit it; what is denied to a role is
    /// denied to its own holders alone.
    Role(RoleRef),
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => out.write_str("everyone"),
            Self::User(id) => write!(out, "user:{id}"),
            Self::Group(id) => write!(out, "group:{id}"),
            Self::Role(role) => write!(out, "role:{role}"),
        }
    }
}

impl FromStr for Subject {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("user", id)) => id.parse().map(Self::User).map_err(|_| ()),
            Some(("group", id)) => id.parse().map(Self::Group).map_err(|_| ()),
            Some(("role", role)) => role.parse().map(Self::Role),
            _ => Err(()),
        }
    }
}

/// Writes and reads a type as its text, in JSON too.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> { to.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(|()| D::Error::custom(format!("{text:?} is no {}", stringify!($name))))
            }
        }
    )*};
}
as_text!(RoleRef, Subject);

/// What a rule is about: patterns such as `read:investigation`, `*:note`, `*:*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(pub Vec<String>);

impl Patterns {
    /// Every permission that one of them selects.
    pub fn set(&self) -> PermissionSet {
        let sets = self.0.iter().filter_map(|pattern| PermissionSet::selected(pattern));
        sets.fold(PermissionSet::NONE, PermissionSet::with)
    }
}

/// What a role allows, and on what condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    /// What.
    pub permissions: Patterns,
    /// On what condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// A custom role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomRole {
    /// Its id.
    pub id: RoleId,
    /// Its name, unique in the organization.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The roles whose rules it has too.
    #[serde(default)]
    pub inherits: Vec<RoleRef>,
    /// What it allows.
    #[serde(default)]
    pub rules: Vec<RoleRule>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, unique in the organization.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// A grant, or a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Whether it gives or takes.
    pub effect: Effect,
    /// Whom.
    pub subject: Subject,
    /// What.
    pub permissions: Patterns,
    /// Which thing; all of them when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// On what condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Until when (not included).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// Who has a custom role, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The role.
    pub role: RoleId,
    /// A user or a group.
    pub subject: Subject,
    /// Until when (not included).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// What stands in an organization's file about one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Its groups, sorted.
    pub groups: Vec<GroupId>,
    /// Custom roles that it has or inherits, each with the moment up to which it has it.
    pub roles: Vec<(CustomRole, Option<Millis>)>,
    /// The custom roles among them that it or a group of it was given itself.
    pub direct: Vec<RoleId>,
    /// Built-in roles that the custom ones inherit, likewise.
    pub inherited: Vec<(Role, Option<Millis>)>,
    /// Grants and denials that are about it: everyone's, its own, those of its groups and roles.
    pub grants: Vec<Grant>,
}
