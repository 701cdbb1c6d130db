//! The second tier: an organization's own policies, as Cedar text.
//!
//! Each policy is one Cedar policy, validated against the schema of `schema.rs`. For each permission those whose
//! scope can match it are kept apart, so that a question asks few of them. Of a thing that is not looked at yet,
//! policies that look at it count as unknown; the others decide.
//!
//! Principals are `User::"<id>"`, in `Role::"<name or id>"` and `Group::"<id>"`; actions are `Action::"read"`;
//! resources are `Investigation::"<id>"`, one type for each type of the table of permissions.

mod external;
mod schema;
mod text;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use cedar_policy::{
    Authorizer, Context, Decision as Answer, Effect as CedarEffect, Entities, Entity, EntityUid, PolicySet,
    Request, RestrictedExpression,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::external::External;
pub use self::schema::type_name;
pub use self::text::{FLAWED, TEXT_BYTES_MAX, scope};
use self::{
    external::Externals,
    schema::{attributes_of, context_of, uid},
    text::{Parsed, parse},
};
use super::{Circumstances, RoleRef, Truth};
use crate::kernel::{Attributes, GroupId, Millis, Permission, PolicyId, UserId};

/// Policies of one organization at most.
pub const POLICIES_MAX: i64 = 200;
/// Policies that can be about one permission, at most: what one question may cost.
pub const SLICE_MAX: usize = 30;

/// A policy, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// Its name, unique in the organization.
    pub name: String,
    /// One Cedar policy.
    pub text: String,
}

/// What the policies say: one that forbids and one that permits, and how surely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// A policy that forbids, or may.
    pub forbids: Option<(Truth, PolicyId)>,
    /// A policy that permits, or may.
    pub permits: Option<(Truth, PolicyId)>,
}

/// The policies that can be about one permission.
#[derive(Default)]
struct Slice {
    /// All of them.
    whole: PolicySet,
    /// Those that do not look at the thing.
    blind: PolicySet,
    /// One that forbids, if there is one.
    forbid: Option<PolicyId>,
    /// One that looks at the thing and forbids.
    looking_forbid: Option<PolicyId>,
    /// One that looks at the thing and permits.
    looking_permit: Option<PolicyId>,
    count: usize,
    /// Each as JSON, and whether it forbids.
    forms: Vec<(bool, Value)>,
}

/// An organization's policies, by the permissions that they can be about.
#[derive(Default)]
pub struct Policies {
    slices: BTreeMap<Permission, Slice>,
    externals: Externals,
}

impl fmt::Debug for Policies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.slices.iter().map(|(permission, slice)| (permission.name(), slice.count));
        out.debug_map().entries(counts).finish()
    }
}

impl Policies {
    /// Reads the texts. What is not read (no such text was ever saved) is an error that names the policy.
    pub fn read(policies: &[Policy]) -> Result<Self, PolicyId> {
        let mut read = Self::default();
        for policy in policies {
            let parsed = parse(policy).map_err(|_| policy.id)?;
            if let Some(scope) = &parsed.external {
                read.externals.add(policy.id, &parsed.policy, scope).ok_or(policy.id)?;
            }
            for permission in parsed.permissions.iter() {
                read.slices.entry(permission).or_default().add(policy.id, &parsed).ok_or(policy.id)?;
            }
        }
        Ok(read)
    }

    /// A permission, or a type of others, that more policies can be about than may be asked at once.
    pub fn overfull(&self) -> Option<String> {
        let full = self.slices.iter().find(|(_, slice)| slice.count > SLICE_MAX);
        full.map(|(permission, _)| permission.to_string()).or_else(|| self.externals.overfull())
    }
}

impl Slice {
    fn add(&mut self, id: PolicyId, parsed: &Parsed) -> Option<()> {
        self.count += 1;
        self.forms.push((parsed.policy.effect() == CedarEffect::Forbid, parsed.form.clone()));
        self.whole.add(parsed.policy.clone()).ok()?;
        if parsed.policy.effect() == CedarEffect::Forbid {
            self.forbid.get_or_insert(id);
        }
        match (parsed.looks, parsed.policy.effect()) {
            (false, _) => self.blind.add(parsed.policy.clone()).ok()?,
            (true, CedarEffect::Forbid) => drop(self.looking_forbid.get_or_insert(id)),
            (true, CedarEffect::Permit) => drop(self.looking_permit.get_or_insert(id)),
        }
        Some(())
    }
}

/// Policies bound to one user.
#[derive(Clone, Debug)]
pub struct Bound {
    policies: Arc<Policies>,
    principal: EntityUid,
    email: Option<String>,
    /// The user's groups and roles, each with the moment up to which it has it.
    parents: Vec<(EntityUid, Option<Millis>)>,
}

impl Bound {
    /// Binds an organization's policies to a user, its groups and its roles.
    pub fn new(
        policies: Arc<Policies>,
        user: UserId,
        groups: &[GroupId],
        roles: impl Iterator<Item = (RoleRef, Option<Millis>)>,
    ) -> Option<Self> {
        let groups = groups.iter().map(|group| Some((uid("Group", &group.to_string())?, None)));
        let roles = roles.map(|(role, until)| Some((uid("Role", &role.to_string())?, until)));
        let parents = groups.chain(roles).collect::<Option<Vec<_>>>()?;
        Some(Self { policies, principal: uid("User", &user.to_string())?, email: None, parents })
    }

    /// The same, whose user has this address.
    #[must_use]
    pub fn with_email(mut self, email: Option<String>) -> Self {
        self.email = email;
        self
    }

    /// The policies that can be about it, as JSON, and whether each forbids.
    pub fn about(&self, permission: Permission) -> impl Iterator<Item = (bool, &Value)> {
        let slice = self.policies.slices.get(&permission);
        slice.into_iter().flat_map(|slice| &slice.forms).map(|(forbids, form)| (*forbids, form))
    }

    /// Whether the user is an entity, or in it.
    pub fn is_in(&self, kind: &str, id: &str, at: Millis) -> bool {
        let Some(entity) = uid(kind, id) else { return false };
        let held = |(parent, until): &(EntityUid, Option<Millis>)| {
            *parent == entity && until.is_none_or(|until| until > at)
        };
        self.principal == entity || self.parents.iter().any(held)
    }

    /// Whether a policy can forbid it.
    pub fn may_forbid(&self, permission: Permission) -> bool {
        self.policies.slices.get(&permission).is_some_and(|slice| slice.forbid.is_some())
    }

    /// What they say.
    pub fn ask(&self, permission: Permission, thing: &Attributes, how: &Circumstances) -> PolicyVerdict {
        let Some(slice) = self.policies.slices.get(&permission) else { return PolicyVerdict::default() };
        let set = if thing.whole { &slice.whole } else { &slice.blind };
        // What cannot be asked forbids: nothing is allowed because a question failed.
        let mut verdict = self.evaluate(set, permission, thing, how).unwrap_or(PolicyVerdict {
            forbids: slice.forbid.or(slice.looking_permit).map(|id| (Truth::Unknown, id)),
            permits: None,
        });
        if !thing.whole {
            let unknown = |id: PolicyId| (Truth::Unknown, id);
            verdict.forbids = verdict.forbids.or(slice.looking_forbid.map(unknown));
            verdict.permits = verdict.permits.or(slice.looking_permit.map(unknown));
        }
        verdict
    }

    fn evaluate(
        &self,
        set: &PolicySet,
        permission: Permission,
        thing: &Attributes,
        how: &Circumstances,
    ) -> Option<PolicyVerdict> {
        static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
        if set.is_empty() {
            return Some(PolicyVerdict::default());
        }
        let resource = uid(&schema::type_name(permission.resource()), thing.id.as_deref().unwrap_or(""))?;
        let entities = self.entities(&resource, thing, how)?;
        let context = Context::from_pairs(context_of(how)).ok()?;
        let action = schema::action(permission)?;
        let request = Request::new(self.principal.clone(), action, resource, context, None).ok()?;
        let response = AUTHORIZER.is_authorized(&request, set, &entities);
        let first = response.diagnostics().reason().filter_map(|id| id.to_string().parse().ok()).min();
        if response.diagnostics().errors().next().is_some() {
            return None;
        }
        Some(match (response.decision(), first) {
            (Answer::Deny, Some(id)) => PolicyVerdict { forbids: Some((Truth::True, id)), permits: None },
            (Answer::Allow, Some(id)) => PolicyVerdict { forbids: None, permits: Some((Truth::True, id)) },
            (_, None) => PolicyVerdict::default(),
        })
    }

    fn entities(&self, resource: &EntityUid, thing: &Attributes, how: &Circumstances) -> Option<Entities> {
        let held = self.parents.iter().filter(|(_, until)| until.is_none_or(|until| until > how.at));
        let parents = held.map(|(parent, _)| parent.clone()).collect();
        let attributes: Vec<(String, RestrictedExpression)> = attributes_of(thing)?;
        if *resource == self.principal {
            let own = Entity::new(resource.clone(), attributes.into_iter().collect(), parents).ok()?;
            return Entities::from_entities([own], None).ok();
        }
        let principal = Entity::new_no_attrs(self.principal.clone(), parents);
        let thing = Entity::new(resource.clone(), attributes.into_iter().collect(), [].into()).ok()?;
        Entities::from_entities([principal, thing], None).ok()
    }
}
