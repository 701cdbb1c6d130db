//! Policies about things of other services: types that the table of permissions does not have.
//!
//! A policy whose scope names `External::<type>` decides about nothing of this installation: it is asked only when a service
//! asks about its own things, and no permission of the table is ever given or taken by it. That is why it needs no schema,
//! and why whoever may write policies may write it without holding anything. A forbid that cannot be evaluated forbids; a permit
//! that cannot permits nothing.
//!
//! Principals are as in other policies, with `principal.email`. Attributes of the resource are the properties that the service
//! sends. `context` has what every question has, and as far as the service sends them `context.subject` and `context.action`
//! (their properties) and `context.request` (the rest of its context).

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::LazyLock,
};

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Context, Decision as Answer, Effect as CedarEffect,
    Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request, ResourceConstraint,
    RestrictedExpression,
};
use serde_json::{Map, Value};

use super::{Bound, PolicyVerdict, SLICE_MAX, schema};
use crate::{
    features::access::model::{Circumstances, Compiled, Decision, Reason, Standing, Truth, Verdict},
    kernel::PolicyId,
};

/// The namespace of types that are not ours.
const NAMESPACE: &str = "External::";

/// A question of a service about a thing of its own.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// What is done.
    pub action: String,
    /// The type of the thing.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// What the service says of the thing.
    pub properties: Map<String, Value>,
    /// What it says of who asks.
    pub subject: Map<String, Value>,
    /// What it says of the action.
    pub action_properties: Map<String, Value>,
    /// What it says of the circumstances.
    pub context: Map<String, Value>,
}

/// What the scope of an external policy names.
pub(super) struct Scope {
    kind: String,
    id: Option<String>,
    actions: Vec<String>,
}

/// The external policies of an organization, by type.
#[derive(Default)]
pub(super) struct Externals(BTreeMap<String, Kind>);

struct Kind {
    name: EntityTypeName,
    any: Part,
    named: BTreeMap<String, Part>,
}

/// Policies that are asked together.
#[derive(Default)]
struct Part {
    set: PolicySet,
    actions: BTreeSet<String>,
    count: usize,
    /// Those that forbid.
    forbids: BTreeSet<String>,
}

/// The scope of a policy about things of others; none when it is about ours.
pub(super) fn scope_of(policy: &cedar_policy::Policy) -> Result<Option<Scope>, String> {
    let kind_of = |name: &EntityTypeName| name.to_string().strip_prefix(NAMESPACE).map(str::to_owned);
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    let actions = actions.iter().map(|uid| AsRef::<str>::as_ref(uid.id()).to_owned()).collect();
    let (kind, id) = match policy.resource_constraint() {
        ResourceConstraint::Any => return Ok(None),
        ResourceConstraint::Is(name) => (kind_of(&name), None),
        ResourceConstraint::Eq(uid) => {
            (kind_of(uid.type_name()), Some(AsRef::<str>::as_ref(uid.id()).to_owned()))
        }
        ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => match kind_of(uid.type_name()) {
            Some(_) => {
                return Err("puts a thing of others `in` another; write `resource is` or `==`".to_owned());
            }
            None => return Ok(None),
        },
    };
    Ok(kind.map(|kind| Scope { kind, id, actions }))
}

impl Externals {
    pub(super) fn add(&mut self, id: PolicyId, policy: &cedar_policy::Policy, scope: &Scope) -> Option<()> {
        let kind = match self.0.entry(scope.kind.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let name = EntityTypeName::from_str(&format!("{NAMESPACE}{}", scope.kind)).ok()?;
                place.insert(Kind { name, any: Part::default(), named: BTreeMap::new() })
            }
        };
        let part = match &scope.id {
            None => &mut kind.any,
            Some(thing) => kind.named.entry(thing.clone()).or_default(),
        };
        part.count += 1;
        part.actions.extend(scope.actions.iter().cloned());
        if policy.effect() == CedarEffect::Forbid {
            part.forbids.insert(id.to_string());
        }
        part.set.add(policy.clone()).ok()
    }

    /// A type, or a thing, that more policies name than may be asked at once.
    pub(super) fn overfull(&self) -> Option<String> {
        self.0.iter().find_map(|(name, kind)| {
            let full = |part: &Part| part.count > SLICE_MAX;
            let thing = kind.named.iter().find(|(_, part)| full(part)).map(|(thing, _)| thing);
            match thing {
                Some(thing) => Some(format!("{NAMESPACE}{name} {thing}")),
                None => full(&kind.any).then(|| format!("{NAMESPACE}{name}")),
            }
        })
    }

    fn actions(&self, kind: &str) -> BTreeSet<&str> {
        let parts = self.0.get(kind).into_iter().flat_map(|kind| kind.named.values().chain([&kind.any]));
        parts.flat_map(|part| part.actions.iter().map(String::as_str)).collect()
    }

    fn things(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.0.get(kind).into_iter().flat_map(|kind| kind.named.keys().map(String::as_str))
    }
}

impl Bound {
    /// Whether any policy is about things of this type.
    pub fn knows_external(&self, kind: &str) -> bool {
        self.policies.externals.0.contains_key(kind)
    }

    /// The actions on things of this type that policies name.
    pub fn external_actions(&self, kind: &str) -> BTreeSet<&str> {
        self.policies.externals.actions(kind)
    }

    /// The things of this type that policies name.
    pub fn external_things(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.policies.externals.things(kind)
    }

    fn ask_external(&self, asked: &External, how: &Circumstances) -> PolicyVerdict {
        let Some(kind) = self.policies.externals.0.get(&asked.kind) else { return PolicyVerdict::default() };
        let mut verdict = PolicyVerdict::default();
        for part in [kind.named.get(&asked.id), Some(&kind.any)].into_iter().flatten() {
            if part.count == 0 {
                continue;
            }
            // What cannot be asked forbids, if it could have.
            let unasked =
                || part.forbids.iter().find_map(|id| id.parse().ok()).map(|id| (Truth::Unknown, id));
            let one = self
                .evaluate_external(kind, part, asked, how)
                .unwrap_or_else(|| PolicyVerdict { forbids: unasked(), permits: None });
            verdict.forbids = verdict.forbids.or(one.forbids);
            verdict.permits = verdict.permits.or(one.permits);
        }
        verdict
    }

    fn evaluate_external(
        &self,
        kind: &Kind,
        part: &Part,
        asked: &External,
        how: &Circumstances,
    ) -> Option<PolicyVerdict> {
        static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
        let resource = EntityUid::from_type_name_and_id(kind.name.clone(), EntityId::new(&asked.id));
        let held = self.parents.iter().filter(|(_, until)| until.is_none_or(|until| until > how.at));
        let parents = held.map(|(parent, _)| parent.clone()).collect();
        let email =
            self.email.clone().map(|email| ("email".to_owned(), RestrictedExpression::new_string(email)));
        let principal = Entity::new(self.principal.clone(), email.into_iter().collect(), parents).ok()?;
        let thing = Entity::new(resource.clone(), fields(&asked.properties).collect(), [].into()).ok()?;
        let entities = Entities::from_entities([principal, thing], None).ok()?;
        let mut context = schema::context_of(how);
        let told =
            [("subject", &asked.subject), ("action", &asked.action_properties), ("request", &asked.context)];
        for (name, told) in told {
            context.push((name.to_owned(), RestrictedExpression::new_record(fields(told)).ok()?));
        }
        let action = schema::uid("Action", &asked.action)?;
        let context = Context::from_pairs(context).ok()?;
        let request = Request::new(self.principal.clone(), action, resource, context, None).ok()?;
        let response = AUTHORIZER.is_authorized(&request, &part.set, &entities);
        let first = response.diagnostics().reason().filter_map(|id| id.to_string().parse().ok()).min();
        let failed =
            response.diagnostics().errors().find_map(|AuthorizationError::PolicyEvaluationError(error)| {
                let id = error.policy_id().to_string();
                if part.forbids.contains(&id) { id.parse().ok() } else { None }
            });
        let forbids = failed.map(|id| (Truth::Unknown, id));
        Some(match (response.decision(), first) {
            (Answer::Deny, Some(id)) => PolicyVerdict { forbids: Some((Truth::True, id)), permits: None },
            (Answer::Allow, Some(id)) => PolicyVerdict { forbids, permits: Some((Truth::True, id)) },
            (_, None) => PolicyVerdict { forbids, permits: None },
        })
    }
}

impl Compiled {
    /// Whether the organization's policies let a member do something to a thing of another service.
    pub fn decide_external(&self, asked: &External, how: &Circumstances) -> Decision {
        let denied = |reason| Decision { verdict: Verdict::Denied, reason };
        match self.standing() {
            Standing::Member(_) => {}
            Standing::Stranger => return denied(Reason::Stranger),
            Standing::System | Standing::Overseer | Standing::Operator => return denied(Reason::Floor),
        }
        let Some(policies) = self.policies() else { return denied(Reason::Nothing) };
        let verdict = policies.ask_external(asked, &self.circumstances(how));
        match (verdict.forbids, verdict.permits) {
            (Some((_, id)), _) => denied(Reason::Policy(id)),
            (None, Some((_, id))) => Decision { verdict: Verdict::Allowed, reason: Reason::Policy(id) },
            (None, None) => denied(Reason::Nothing),
        }
    }
}

/// JSON as Cedar knows it. It has neither null nor fractions: what has them is not there.
fn fields(object: &Map<String, Value>) -> impl Iterator<Item = (String, RestrictedExpression)> {
    object.iter().filter_map(|(name, value)| Some((name.clone(), expression(value)?)))
}

fn expression(value: &Value) -> Option<RestrictedExpression> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => RestrictedExpression::new_bool(*flag),
        Value::Number(number) => RestrictedExpression::new_long(number.as_i64()?),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Array(items) => RestrictedExpression::new_set(items.iter().filter_map(expression)),
        Value::Object(inner) => RestrictedExpression::new_record(fields(inner)).ok()?,
    })
}
