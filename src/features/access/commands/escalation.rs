//! Nobody gives what they do not hold.

use std::collections::BTreeMap;

use crate::{
    cluster::Apply,
    features::access::{
        model::{Compiled, Condition, CustomRole, Effect, Grant, RoleRef, Standing, condition_of},
        queries::{self, compiled},
    },
    kernel::{GroupId, Millis, Permission, PermissionSet, Refusal, Role},
    store::Stop,
};

/// What somebody is about to give: permissions on a condition, for a thing, until a moment.
pub(super) struct Given<'a> {
    pub(super) permissions: PermissionSet,
    pub(super) condition: Option<&'a Condition>,
    pub(super) resource: Option<&'a str>,
    pub(super) until: Option<Millis>,
}

/// Who gives.
pub(super) struct Giver {
    rights: Compiled,
    at: Millis,
}

impl Giver {
    pub(super) fn of(cx: &Apply<'_>) -> Result<Self, Stop> {
        Ok(Self { rights: compiled(cx.tx, cx.organization, cx.actor)?, at: cx.at })
    }

    /// Refuses what the giver does not hold itself.
    pub(super) fn require(&self, given: &Given<'_>) -> Result<(), Refusal> {
        let may = |permission: &Permission| {
            self.rights.may_pass_on(*permission, given.condition, given.resource, given.until, self.at)
        };
        given
            .permissions
            .iter()
            .find(|permission| !may(permission))
            .map_or(Ok(()), |lacks| Err(escalates(lacks)))
    }

    pub(super) fn require_grant(&self, grant: &Grant) -> Result<(), Refusal> {
        self.require(&Given {
            permissions: grant.permissions.set(),
            condition: grant.condition.as_ref(),
            resource: grant.resource.as_deref(),
            until: grant.expires,
        })
    }

    pub(super) fn require_rules(&self, role: &CustomRole, until: Option<Millis>) -> Result<(), Refusal> {
        role.rules.iter().try_for_each(|rule| {
            let (permissions, condition) = (rule.permissions.set(), rule.condition.as_ref());
            self.require(&Given { permissions, condition, resource: None, until })
        })
    }

    pub(super) fn require_built_in(&self, role: Role, until: Option<Millis>) -> Result<(), Refusal> {
        role.holdings().into_iter().try_for_each(|(_, when, permissions)| {
            let permissions = permissions.without(PermissionSet::OPEN);
            let condition = condition_of(when);
            self.require(&Given { permissions, condition: condition.as_ref(), resource: None, until })
        })
    }

    /// Refuses to take a denial back for who is denied the same, unless it holds the built-in role `admin`: else a denial would
    /// bind only those who cannot write rules.
    pub(super) fn require_undo(&self, permissions: PermissionSet) -> Result<(), Refusal> {
        if matches!(self.rights.standing(), Standing::System | Standing::Member(Role::Admin)) {
            return Ok(());
        }
        self.require(&Given { permissions, condition: None, resource: None, until: None })
    }

    /// Refuses to give a role, with all that it inherits and what was granted to it.
    pub(super) fn require_role(
        &self,
        cx: &Apply<'_>,
        role: RoleRef,
        until: Option<Millis>,
    ) -> Result<(), Stop> {
        let mut reached = BTreeMap::new();
        queries::reach(cx.tx, &mut reached, role, None)?;
        for role in reached.into_keys() {
            match role {
                RoleRef::BuiltIn(role) => self.require_built_in(role, until)?,
                RoleRef::Custom(id) => {
                    if let Some(stored) = queries::role(cx.tx, id)? {
                        self.require_rules(&stored.value, until)?;
                    }
                }
            }
            let grants = queries::grants_of(cx.tx, crate::features::access::model::Subject::Role(role))?;
            for grant in grants.iter().filter(|grant| grant.effect == Effect::Allow) {
                self.require_grant(grant)?;
            }
        }
        Ok(())
    }

    /// Refuses to change who is in a group for who does not hold what that gives, or is denied what it would free others from.
    pub(super) fn require_group(&self, cx: &Apply<'_>, group: GroupId) -> Result<(), Stop> {
        let (grants, roles) = queries::concerns_group(cx.tx, group)?;
        for grant in &grants {
            match grant.effect {
                Effect::Allow => self.require_grant(grant)?,
                Effect::Deny => self.require_undo(grant.permissions.set())?,
            }
        }
        for role in &roles {
            self.require_rules(role, None)?;
        }
        let subject = crate::features::access::model::Subject::Group(group);
        for holding in queries::holdings_of(cx.tx, subject)? {
            self.require_role(cx, RoleRef::Custom(holding.role), holding.expires)?;
        }
        if queries::policies_name(cx.tx, &group.to_string())? {
            self.require_undo(PermissionSet::of(&[Permission::PolicyManage]))?;
        }
        Ok(())
    }
}

fn escalates(lacks: Permission) -> Refusal {
    Refusal::Escalation { permission: lacks.name().to_owned() }
}

/// Refuses to give a built-in role to who does not hold all that it holds. For commands that create users or change their role.
pub fn require_may_give_role(cx: &Apply<'_>, role: Role) -> Result<(), Stop> {
    let giver = Giver::of(cx)?;
    // The platform's administrators create each other in the system file. Who holds the built-in `admin` gives the
    // built-in roles also while a denial binds it: the denial binds the other as well.
    if cx.organization.is_system() || giver.rights.standing() == Standing::Member(Role::Admin) {
        return Ok(());
    }
    giver.require_role(cx, RoleRef::BuiltIn(role), None)
}
