//! What an organization asks of its people, as its profile says it.

use serde::Deserialize;

use crate::kernel::Role;

/// The rules of one organization that concern its people. The system file has no profile: the defaults hold there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // independent switches, each with the name users know
pub struct House {
    /// Whether somebody invited by a member who may not approve waits for one who may.
    pub require_approval_for_new_users: bool,
    /// Whether users who have not logged in for long are deactivated.
    pub auto_deactivate_inactive_users: bool,
    /// How long that is, in days.
    pub inactivity_threshold_days: i64,
    /// The role of who is invited without one.
    pub default_user_role: String,
    /// Domains that e-mail addresses must be of; any when empty.
    pub allowed_email_domains: Vec<String>,
    /// Domains that they must not be of.
    pub blocked_email_domains: Vec<String>,
}

impl Default for House {
    fn default() -> Self {
        Self {
            require_approval_for_new_users: false,
            auto_deactivate_inactive_users: false,
            inactivity_threshold_days: 90,
            default_user_role: Role::Analyst.name().to_owned(),
            allowed_email_domains: Vec::new(),
            blocked_email_domains: Vec::new(),
        }
    }
}

impl House {
    /// Whether an address may join, or what is wrong with it. A domain stands for those below it, too.
    pub fn judge_email(&self, email: &str) -> Result<(), &'static str> {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        let covers = |listed: &String| {
            let listed = listed.trim_start_matches(['@', '.']).to_lowercase();
            domain == listed || domain.strip_suffix(listed.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        if self.blocked_email_domains.iter().any(covers) {
            return Err("is of a domain that this organization does not take");
        }
        if self.allowed_email_domains.is_empty() || self.allowed_email_domains.iter().any(covers) {
            return Ok(());
        }
        Err("is not of a domain that this organization takes")
    }

    /// The role of who is invited without one.
    pub fn default_role(&self) -> Role {
        self.default_user_role
            .parse()
            .ok()
            .filter(|role| *role != Role::PlatformAdmin)
            .unwrap_or(Role::Analyst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_domain_stands_for_those_below_it_and_a_blocked_one_wins() {
        let house = House {
            allowed_email_domains: vec!["acme.example".into(), "@Partner.example".into()],
            blocked_email_domains: vec!["guests.acme.example".into()],
            ..House::default()
        };
        for (email, allowed) in [
            ("ann@acme.example", true),
            ("ann@lab.acme.example", true),
            ("ann@partner.example", true),
            ("ann@notacme.example", false),
            ("ann@acme.example.evil.test", false),
            ("ann@guests.acme.example", false),
            ("ann@x.guests.acme.example", false),
            ("ann@other.example", false),
        ] {
            assert_eq!(house.judge_email(email).is_ok(), allowed, "{email}");
        }
        assert!(House::default().judge_email("anybody@anywhere.example").is_ok());
    }
}
