//! Reading and judging the text of one policy.

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, PolicySet, ResourceConstraint, ValidationMode, Validator,
};
use serde_json::Value;

use super::{
    Policy,
    external::{self, Scope},
    schema::{SCHEMA, type_name},
};
use crate::kernel::{Permission, PermissionSet};

/// Longest text of one policy.
pub const TEXT_BYTES_MAX: usize = 4096;
/// What a refusal says when apply finds a policy flawed; the edge has said in detail what is wrong.
pub const FLAWED: &str = "is not one valid Cedar policy of this schema; a permit must name its actions";

/// A policy that was read and found sound.
pub(super) struct Parsed {
    pub(super) policy: cedar_policy::Policy,
    /// What it can be about, by its scope.
    pub(super) permissions: PermissionSet,
    /// Whether it looks at the thing, beyond its type.
    pub(super) looks: bool,
    /// It, as JSON.
    pub(super) form: Value,
    /// What it is about instead, when it is about things of others.
    pub(super) external: Option<Scope>,
}

/// Reads a policy, or says what is wrong with its text.
pub(super) fn parse(policy: &Policy) -> Result<Parsed, String> {
    if policy.text.len() > TEXT_BYTES_MAX {
        return Err(format!("must be at most {TEXT_BYTES_MAX} bytes long"));
    }
    let id = cedar_policy::PolicyId::new(policy.id.to_string());
    let read = cedar_policy::Policy::parse(Some(id), &policy.text)
        .map_err(|error| format!("is not one Cedar policy: {error}"))?;
    let external = external::scope_of(&read)?;
    if external.is_some() {
        let permissions = PermissionSet::NONE;
        return Ok(Parsed { policy: read, permissions, looks: true, form: Value::Null, external });
    }
    validate(&read)?;
    let permissions = permissions_of(&read);
    if permissions.is_empty() {
        return Err("can never be about any permission: no such action and resource go together".to_owned());
    }
    if read.effect() == Effect::Permit && read.action_constraint() == ActionConstraint::Any {
        return Err("permits every action; a permit must name its actions".to_owned());
    }
    let form = read.to_json().map_err(|error| format!("cannot be looked through: {error}"))?;
    let looks = looks_at_resource(&read, &form);
    Ok(Parsed { policy: read, permissions, looks, form, external })
}

fn validate(policy: &cedar_policy::Policy) -> Result<(), String> {
    let schema = SCHEMA.as_ref().ok_or("cannot be judged: this binary's own schema does not read")?;
    let set = PolicySet::from_policies([policy.clone()]).map_err(|error| error.to_string())?;
    let judged = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let mut wrong: Vec<String> = judged.validation_errors().map(ToString::to_string).collect();
    wrong.sort();
    wrong.first().map_or(Ok(()), |first| Err(format!("does not fit the schema: {first}")))
}

/// What the scope of a policy can match, by action and resource type.
fn permissions_of(policy: &cedar_policy::Policy) -> PermissionSet {
    let named = |uid: &EntityUid, permission: &Permission| {
        let id: &str = uid.id().as_ref();
        id == permission.action()
    };
    let (action, resource) = (policy.action_constraint(), policy.resource_constraint());
    let fits = |permission: &Permission| {
        let by_action = match &action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => named(uid, permission),
            ActionConstraint::In(uids) => uids.iter().any(|uid| named(uid, permission)),
        };
        let kind = type_name(permission.resource());
        let by_resource = match &resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => uid.type_name().to_string() == kind,
            ResourceConstraint::Is(name) | ResourceConstraint::IsIn(name, _) => name.to_string() == kind,
        };
        by_action && by_resource
    };
    let fitting: Vec<Permission> = PermissionSet::GRANTABLE.iter().filter(fits).collect();
    PermissionSet::of(&fitting)
}

fn looks_at_resource(policy: &cedar_policy::Policy, form: &Value) -> bool {
    let names_one =
        !matches!(policy.resource_constraint(), ResourceConstraint::Any | ResourceConstraint::Is(_));
    names_one || form.get("conditions").is_some_and(mentions_resource)
}

fn mentions_resource(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("Var").and_then(Value::as_str) == Some("resource")
                || fields.values().any(mentions_resource)
        }
        Value::Array(items) => items.iter().any(mentions_resource),
        _ => false,
    }
}

/// What is wrong with a policy, in detail; for the edge. Its permissions and whether it permits, when nothing is. One about
/// things of others has none.
pub fn scope(policy: &Policy) -> Result<(PermissionSet, bool), String> {
    parse(policy).map(|parsed| (parsed.permissions, parsed.policy.effect() == Effect::Permit))
}
