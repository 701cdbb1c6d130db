//! What an organization asks of its members beside the password.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::kernel::Role;

/// How much is asked for. Each asks for more than the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No second factor is asked for, and none can be enrolled.
    Off,
    /// Whoever has one is asked for it.
    Optional,
    /// Everybody must have one.
    Required,
    /// Everybody must have a passkey, and log in with it.
    PhishingResistant,
}

impl Level {
    /// The names, lowest first.
    pub const NAMES: &[&str] = &["off", "optional", "required", "phishing_resistant"];
    const ALL: [Self; 4] = [Self::Off, Self::Optional, Self::Required, Self::PhishingResistant];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
            Self::PhishingResistant => "phishing_resistant",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or(())
    }
}

/// Longest grace.
pub const GRACE_DAYS_MAX: i64 = 90;

/// What is asked of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// How much.
    pub level: Level,
    /// Days from the first login under the rule until it bites.
    pub grace_days: i64,
}

/// An organization's policy: a rule for everybody, and rules for roles in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For roles without a rule of their own.
    pub default: Rule,
    /// By the role's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { default: Rule { level: Level::Optional, grace_days: 14 }, roles: BTreeMap::new() }
    }
}

impl Policy {
    /// What is asked of `role`; `require_mfa` of the organization's profile asks for a second factor at least.
    pub fn rule(&self, role: Role, require_mfa: bool) -> Rule {
        let set = self.roles.get(role.name()).copied().unwrap_or(self.default);
        if require_mfa { Rule { level: set.level.max(Level::Required), ..set } } else { set }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_own_rule_stands_in_place_of_the_default_and_the_profile_raises_either() {
        let strict = Rule { level: Level::PhishingResistant, grace_days: 0 };
        let off = Rule { level: Level::Off, grace_days: 3 };
        let policy = Policy { default: off, roles: BTreeMap::from([("admin".to_owned(), strict)]) };
        assert_eq!(policy.rule(Role::Admin, false), strict);
        assert_eq!(policy.rule(Role::Admin, true), strict);
        assert_eq!(policy.rule(Role::Analyst, false), off);
        assert_eq!(policy.rule(Role::Analyst, true), Rule { level: Level::Required, grace_days: 3 });
    }

    #[test]
    fn levels_are_read_as_they_are_written() {
        for (level, name) in Level::ALL.into_iter().zip(Level::NAMES) {
            assert_eq!((level.name(), name.parse()), (*name, Ok(level)));
        }
        assert!("on".parse::<Level>().is_err());
    }
}
