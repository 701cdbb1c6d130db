//! The engine: what one actor may do in one organization, compiled once, decided often.
//!
//! The order: the floor of the organization, then denials, then what allows, then no. A denial always wins. What a denial or
//! an allowance looks at may not be known yet; then the decision is [`Verdict::Depends`], which refuses nothing early and
//! permits nothing finally.

use serde_json::{Value, json};

use super::{
    Bound, Circumstances, Condition, Given, Holder, PolicyVerdict, Standing, Truth,
    rule::{Effect, Grant, Subject},
};
use crate::kernel::{
    Attributes, Field, GrantId, Millis, Permission, PermissionSet, PolicyId, Refusal, Role, RoleId, UserId,
    When,
};

/// What denials never take from holders of the built-in role `admin`: what it takes to see and to undo them.
pub const UNDENIABLE: PermissionSet = PermissionSet::of(&[
    Permission::OrganizationRead,
    Permission::UserRead,
    Permission::UserManage,
    Permission::RoleManage,
    Permission::GrantManage,
    Permission::GroupManage,
    Permission::PolicyManage,
    Permission::AccessCheck,
    Permission::AccessReview,
]);

/// May it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, whatever else becomes known.
    Allowed,
    /// No, whatever else becomes known.
    Denied,
    /// It hangs on what is not known yet.
    Depends,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A built-in role.
    Role(Role),
    /// A custom role, with its name.
    CustomRole(RoleId, String),
    /// A grant or a denial, and whom it is about.
    Grant(GrantId, Subject),
}

/// Why a decision is what it is; [`Compiled::explain`] says it in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The installation itself may do anything.
    Installation,
    /// Nobody that the organization knows.
    Stranger,
    /// No rule of an organization can give this to such an actor.
    Floor,
    /// The denial of this number.
    Denial(usize),
    /// A policy forbids or permits.
    Policy(PolicyId),
    /// A role or a grant allows it without condition.
    Plain,
    /// The allowance of this number.
    Allowance(usize),
    /// Nothing allows it.
    Nothing,
}

/// A decision with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// May it?
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

/// One rule, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// What it is about.
    pub permissions: PermissionSet,
    /// Which thing; all of them when none is named.
    pub resource: Option<String>,
    /// On what condition.
    pub condition: Option<Condition>,
    /// Until when.
    pub expires: Option<Millis>,
    /// Where it comes from.
    pub source: Source,
}

impl Clause {
    fn holds(&self, who: &Holder, thing: &Attributes, how: &Circumstances) -> Truth {
        if self.expires.is_some_and(|expires| expires <= how.at) {
            return Truth::False;
        }
        let named = match (&self.resource, &thing.id) {
            (None, _) => Truth::True,
            (Some(mine), Some(theirs)) => (mine == theirs).into(),
            (Some(_), None) if thing.whole => Truth::False,
            (Some(_), None) => Truth::Unknown,
        };
        match (named, &self.condition) {
            (Truth::False, _) => Truth::False,
            (named, None) => named,
            (Truth::True, Some(condition)) => condition.holds(who, thing, how),
            (Truth::Unknown, Some(condition)) => match condition.holds(who, thing, how) {
                Truth::False => Truth::False,
                _ => Truth::Unknown,
            },
        }
    }

    fn is_plain(&self) -> bool {
        self.resource.is_none() && self.condition.is_none() && self.expires.is_none()
    }
}

/// What one actor may do in one organization.
#[derive(Clone, Debug)]
pub struct Compiled {
    standing: Standing,
    who: Holder,
    floor: PermissionSet,
    /// What is allowed whatever the circumstances.
    plain: PermissionSet,
    /// What some clause allows under circumstances.
    maybe: PermissionSet,
    /// What some clause denies under circumstances.
    denied: PermissionSet,
    allowances: Vec<Clause>,
    denials: Vec<Clause>,
    policies: Option<Bound>,
    /// What the session that it acts in says; none when no rule asks, or it acts in none.
    proven: Option<Proven>,
}

/// How the user of a session last proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// When.
    pub at: Millis,
    /// Whether with a second factor.
    pub mfa: bool,
}

impl Compiled {
    /// An actor that no custom rule is about: the installation, an overseer, an operator, a stranger.
    pub fn fixed(standing: Standing) -> Self {
        let floor = standing.floor();
        Self::new(standing, Holder::default(), floor, floor, Vec::new(), Vec::new())
    }

    /// A member, with what stands in the organization's file about it.
    pub fn member(user: UserId, role: Role, given: &Given) -> Self {
        let standing = Standing::Member(role);
        let who = Holder { user: Some(user), groups: given.groups.clone() };
        let floor = standing.floor();
        let mut allowances: Vec<Clause> = of_role(role, None).collect();
        for (role, until) in &given.inherited {
            allowances.extend(of_role(*role, *until));
        }
        for (role, until) in &given.roles {
            allowances.extend(role.rules.iter().map(|rule| Clause {
                permissions: rule.permissions.set(),
                resource: None,
                condition: rule.condition.clone(),
                expires: *until,
                source: Source::CustomRole(role.id, role.name.clone()),
            }));
        }
        let of_effect =
            |effect| given.grants.iter().filter(move |grant| grant.effect == effect).map(of_grant);
        allowances.extend(of_effect(Effect::Allow));
        let exempt = if role == Role::Admin { UNDENIABLE } else { PermissionSet::NONE };
        let spare = |clause: Clause| Clause { permissions: clause.permissions.without(exempt), ..clause };
        let denials = of_effect(Effect::Deny).map(spare).collect();
        let plain = allowances.iter().filter(|clause| clause.is_plain());
        let plain = plain.fold(PermissionSet::NONE, |all, clause| all.with(clause.permissions)).within(floor);
        Self::new(standing, who, floor, plain, allowances, denials)
    }

    fn new(
        standing: Standing,
        who: Holder,
        floor: PermissionSet,
        plain: PermissionSet,
        allowances: Vec<Clause>,
        denials: Vec<Clause>,
    ) -> Self {
        let union = |clauses: &[Clause]| {
            clauses.iter().fold(PermissionSet::NONE, |all, clause| all.with(clause.permissions))
        };
        let (maybe, denied) = (union(&allowances), union(&denials));
        Self { standing, who, floor, plain, maybe, denied, allowances, denials, policies: None, proven: None }
    }

    /// The same, held to the organization's policies as well.
    #[must_use]
    pub fn with_policies(mut self, policies: Option<Bound>) -> Self {
        self.policies = policies;
        self
    }

    /// The same, acting in a session whose user proved who it is so.
    #[must_use]
    pub fn in_session(mut self, proven: Option<Proven>) -> Self {
        self.proven = proven;
        self
    }

    /// What is known of a request, with what the session says where the request does not.
    pub fn circumstances(&self, how: &Circumstances) -> Circumstances {
        Circumstances {
            mfa: how.mfa.or(self.proven.map(|proven| proven.mfa)),
            authenticated: how.authenticated.or(self.proven.map(|proven| proven.at)),
            ..*how
        }
    }

    /// Where the actor stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whose rights these are.
    pub fn holder(&self) -> &Holder {
        &self.who
    }

    /// What allows.
    pub fn allowances(&self) -> &[Clause] {
        &self.allowances
    }

    /// What denies.
    pub fn denials(&self) -> &[Clause] {
        &self.denials
    }

    /// Policies, if the organization has any.
    pub fn policies(&self) -> Option<&Bound> {
        self.policies.as_ref()
    }

    /// Whether the actor may. Allocates nothing unless a policy is asked.
    pub fn decide(&self, permission: Permission, thing: &Attributes, how: &Circumstances) -> Decision {
        let decided = |verdict, reason| Decision { verdict, reason };
        if !self.floor.holds(permission) {
            return self.outside(permission);
        }
        let how = &self.circumstances(how);
        let mut uncertain = None;
        if self.denied.holds(permission) {
            for (number, clause) in about(&self.denials, permission) {
                match clause.holds(&self.who, thing, how) {
                    Truth::True => return decided(Verdict::Denied, Reason::Denial(number)),
                    Truth::Unknown => uncertain = Some(Reason::Denial(number)),
                    Truth::False => {}
                }
            }
        }
        let policies = self.ask_policies(permission, thing, how);
        match policies.forbids {
            Some((Truth::True, policy)) => return decided(Verdict::Denied, Reason::Policy(policy)),
            Some((_, policy)) => uncertain = Some(Reason::Policy(policy)),
            None => {}
        }
        let allowed = self.allows(permission, thing, how, &policies);
        match (allowed, uncertain) {
            // Nothing will ever allow it: what may deny it besides does not matter.
            (Decision { verdict: Verdict::Denied, .. }, _) | (_, None) => allowed,
            (_, Some(reason)) => decided(Verdict::Depends, reason),
        }
    }

    fn outside(&self, permission: Permission) -> Decision {
        let (verdict, reason) = match self.standing {
            Standing::System => (Verdict::Allowed, Reason::Installation),
            Standing::Stranger if permission == Permission::Anyone => (Verdict::Allowed, Reason::Plain),
            Standing::Stranger => (Verdict::Denied, Reason::Stranger),
            _ => (Verdict::Denied, Reason::Floor),
        };
        Decision { verdict, reason }
    }

    fn allows(
        &self,
        permission: Permission,
        thing: &Attributes,
        how: &Circumstances,
        policies: &PolicyVerdict,
    ) -> Decision {
        let decided = |verdict, reason| Decision { verdict, reason };
        if self.plain.holds(permission) {
            return decided(Verdict::Allowed, Reason::Plain);
        }
        let mut uncertain = None;
        if self.maybe.holds(permission) {
            for (number, clause) in about(&self.allowances, permission) {
                match clause.holds(&self.who, thing, how) {
                    Truth::True => return decided(Verdict::Allowed, Reason::Allowance(number)),
                    Truth::Unknown => uncertain = Some(Reason::Allowance(number)),
                    Truth::False => {}
                }
            }
        }
        match policies.permits {
            Some((Truth::True, policy)) => return decided(Verdict::Allowed, Reason::Policy(policy)),
            Some((_, policy)) => uncertain = uncertain.or(Some(Reason::Policy(policy))),
            None => {}
        }
        uncertain
            .map_or(decided(Verdict::Denied, Reason::Nothing), |reason| decided(Verdict::Depends, reason))
    }

    /// Whether no denial and no policy takes it from this actor.
    pub fn is_undeniable(&self, permission: Permission) -> bool {
        self.standing == Standing::Member(Role::Admin) && UNDENIABLE.holds(permission)
    }

    fn ask_policies(&self, permission: Permission, thing: &Attributes, how: &Circumstances) -> PolicyVerdict {
        let Some(policies) = &self.policies else { return PolicyVerdict::default() };
        let verdict = policies.ask(permission, thing, how);
        // What takes it to undo a policy is not taken by one.
        if self.is_undeniable(permission) {
            return PolicyVerdict { forbids: None, ..verdict };
        }
        verdict
    }

    /// Allows finally, or refuses: not found to strangers, permission denied to others. What is not known counts against the
    /// actor.
    pub fn require(
        &self,
        permission: Permission,
        thing: &Attributes,
        how: &Circumstances,
    ) -> Result<(), Refusal> {
        match self.decide(permission, thing, how).verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Denied | Verdict::Depends => Err(self.refusal(permission)),
        }
    }

    /// Refuses only what can never be allowed.
    pub fn require_some(&self, permission: Permission, how: &Circumstances) -> Result<(), Refusal> {
        match self.decide(permission, &Attributes::UNKNOWN, how).verdict {
            Verdict::Allowed | Verdict::Depends => Ok(()),
            Verdict::Denied => Err(self.refusal(permission)),
        }
    }

    fn refusal(&self, permission: Permission) -> Refusal {
        if self.standing == Standing::Stranger {
            return Refusal::NotFound;
        }
        let (required, role) = (permission.name().to_owned(), self.standing.name().to_owned());
        Refusal::PermissionDenied { required, role }
    }

    /// Whether the actor may give `permission` to others on `condition`, for `resource`, until `until`: nobody gives what it
    /// does not hold, nor more widely, nor for longer.
    pub fn may_pass_on(
        &self,
        permission: Permission,
        condition: Option<&Condition>,
        resource: Option<&str>,
        until: Option<Millis>,
        at: Millis,
    ) -> bool {
        if self.standing == Standing::System {
            return true;
        }
        let denied = self.denied.holds(permission)
            && about(&self.denials, permission)
                .any(|(_, clause)| clause.expires.is_none_or(|expires| expires > at));
        if !self.floor.holds(permission) || denied || self.may_be_forbidden(permission) {
            return false;
        }
        let covers = |clause: &Clause| {
            let lasts =
                clause.expires.is_none_or(|mine| mine > at && until.is_some_and(|theirs| theirs <= mine));
            let reaches = clause.resource.as_deref().is_none_or(|mine| resource == Some(mine));
            let held_to = clause
                .condition
                .as_ref()
                .is_none_or(|mine| condition.is_some_and(|theirs| theirs.implies(mine)));
            lasts && reaches && held_to
        };
        self.plain.holds(permission) || about(&self.allowances, permission).any(|(_, clause)| covers(clause))
    }

    fn may_be_forbidden(&self, permission: Permission) -> bool {
        !self.is_undeniable(permission)
            && self.policies.as_ref().is_some_and(|policies| policies.may_forbid(permission))
    }

    /// The reason in full: which rule, role, grant or policy decided.
    pub fn explain(&self, permission: Permission, decision: &Decision) -> Value {
        let of = |clause: Option<&Clause>| clause.map(clause_view).unwrap_or_default();
        let rule = match decision.reason {
            Reason::Denial(number) => of(self.denials.get(number)),
            Reason::Allowance(number) => of(self.allowances.get(number)),
            Reason::Plain => {
                of(about(&self.allowances, permission).map(|(_, clause)| clause).find(|one| one.is_plain()))
            }
            Reason::Policy(policy) => json!({ "policy": policy }),
            Reason::Installation | Reason::Stranger | Reason::Floor | Reason::Nothing => Value::Null,
        };
        json!({ "code": decision.reason.code(), "role": self.standing.name(), "rule": rule })
    }
}

impl Reason {
    /// A stable word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::Stranger => "stranger",
            Self::Floor => "outside_the_floor",
            Self::Denial(_) => "denied",
            Self::Policy(_) => "policy",
            Self::Plain | Self::Allowance(_) => "allowed",
            Self::Nothing => "nothing_allows",
        }
    }
}

/// A rule as explanations and reviews show it.
pub fn clause_view(clause: &Clause) -> Value {
    let mut view = match &clause.source {
        Source::Role(role) => json!({ "role": role.name() }),
        Source::CustomRole(id, name) => json!({ "role": id, "name": name }),
        Source::Grant(id, subject) => json!({ "grant": id, "subject": subject }),
    };
    if let Some(fields) = view.as_object_mut() {
        let extras = [
            ("resource", clause.resource.as_ref().map(|resource| json!(resource))),
            ("condition", clause.condition.as_ref().map(Condition::to_value)),
            ("expires_at", clause.expires.map(|at| json!(at.to_string()))),
        ];
        let extras = extras.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.extend(extras);
    }
    view
}

fn about(clauses: &[Clause], permission: Permission) -> impl Iterator<Item = (usize, &Clause)> {
    clauses.iter().enumerate().filter(move |(_, clause)| clause.permissions.holds(permission))
}

/// A built-in role's rows as clauses.
fn of_role(role: Role, until: Option<Millis>) -> impl Iterator<Item = Clause> {
    role.holdings().into_iter().map(move |(role, when, permissions)| Clause {
        permissions,
        resource: None,
        condition: condition_of(when),
        expires: until,
        source: Source::Role(role),
    })
}

/// The condition that a row of the table of roles names.
pub fn condition_of(when: When) -> Option<Condition> {
    match when {
        When::Always => None,
        When::Owner => Some(Condition::Owner),
        When::FormatIn(formats) => {
            let formats = formats.iter().map(|&format| format.to_owned()).collect();
            Some(Condition::FieldIn(Field::Format, formats))
        }
        When::ReadOnly => Some(Condition::ReadOnly),
        When::Limited => Some(Condition::Limited),
    }
}

fn of_grant(grant: &Grant) -> Clause {
    Clause {
        permissions: grant.permissions.set(),
        resource: grant.resource.clone(),
        condition: grant.condition.clone(),
        expires: grant.expires,
        source: Source::Grant(grant.id, grant.subject),
    }
}
