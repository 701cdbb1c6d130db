//! Reading what a client says about roles, groups, grants and things.

use serde_json::{Map, Value, json};

use crate::{
    features::access::model::{
        Condition, CustomRole, Effect, Grant, Group, Patterns, RULES_MAX, RoleRef, RoleRule, Subject,
    },
    kernel::{Attributes, Field, GrantId, GroupId, Level, PermissionSet, RoleId, UserId},
    web::{
        Fields,
        value::{self, Describes, Reads, Rule},
    },
};

/// Longest id of a thing that a grant can be for.
const RESOURCE_CHARS_MAX: usize = 128;
/// Roles that one role inherits itself, at most.
const INHERITS_MAX: usize = 16;
/// Collaborators of a thing that is asked about, at most.
const COLLABORATORS_MAX: usize = 200;

pub(super) fn read_role(fields: &mut Fields, id: RoleId) -> Option<CustomRole> {
    let name = fields.required("name", value::text(100));
    let description = fields.optional("description", value::text(1000)).unwrap_or_default();
    let inherits = value::parsed::<RoleRef>("a built-in role of members, or the id of a custom role");
    let inherits = fields.optional("inherits", value::list(INHERITS_MAX, inherits)).unwrap_or_default();
    let rules = value::rule(describe_rule, read_rule);
    let rules = fields.optional("rules", value::list(RULES_MAX, rules)).unwrap_or_default();
    Some(CustomRole { id, name: name?, description, inherits, rules })
}

pub(super) fn read_group(fields: &mut Fields, id: GroupId) -> Option<Group> {
    let name = fields.required("name", value::text(100));
    let description = fields.optional("description", value::text(1000)).unwrap_or_default();
    Some(Group { id, name: name?, description })
}

pub(super) fn read_grant(fields: &mut Fields, id: GrantId) -> Option<Grant> {
    let effect = fields.required("effect", value::word::<Effect>(Effect::NAMES));
    let subject = fields.required("subject", subject());
    let permissions = fields.required("permissions", value::list(RULES_MAX, pattern()));
    if permissions.as_ref().is_some_and(Vec::is_empty) {
        fields.reject("permissions", "must name at least one");
    }
    let resource = fields.optional("resource", value::text(RESOURCE_CHARS_MAX));
    let condition = fields.optional("condition", condition());
    let expires = fields.optional("expires_at", value::moment());
    let permissions = Patterns(permissions?);
    Some(Grant { id, effect: effect?, subject: subject?, permissions, resource, condition, expires })
}

/// Whom it is about.
pub(super) fn subject() -> Rule<impl Reads<Subject>, impl Describes> {
    value::parsed::<Subject>("everyone, user:<id>, group:<id> or role:<name or id>")
}

fn pattern() -> Rule<impl Reads<String>, impl Describes> {
    let read = |value: &Value| {
        let text = value.as_str().filter(|text| PermissionSet::selected(text).is_some());
        let wrong =
            || "must be action:resource as GET /api/v2/access/matrix lists them; either may be *".to_owned();
        text.map(str::to_owned).ok_or_else(wrong)
    };
    value::rule(|| json!({ "type": "string", "examples": ["read:investigation", "*:note"] }), read)
}

fn condition() -> Rule<impl Reads<Condition>, impl Describes> {
    let read = |value: &Value| {
        Condition::parse(value, "").map_err(|error| match error.pointer.as_str() {
            "" => error.detail,
            pointer => format!("is wrong at {pointer}: it {}", error.detail),
        })
    };
    value::rule(|| json!({ "type": "object", "description": "one condition, e.g. {\"owner\": true}" }), read)
}

fn describe_rule() -> Value {
    json!({
        "type": "object",
        "properties": {
            "permissions": { "type": "array", "items": { "type": "string" } },
            "condition": { "type": "object" },
        },
        "required": ["permissions"],
        "additionalProperties": false,
    })
}

fn read_rule(value: &Value) -> Result<RoleRule, String> {
    let object = object_of(value, &["permissions", "condition"])?;
    let list = value::list(RULES_MAX, pattern());
    let permissions: Vec<String> = list
        .judge(object.get("permissions").unwrap_or(&Value::Null))
        .map_err(|why| format!("has permissions that {why}"))?;
    let held_to = object.get("condition").filter(|value| !value.is_null());
    let condition = held_to
        .map(|value| self::condition().judge(value).map_err(|why| format!("has a condition that {why}")))
        .transpose()?;
    Ok(RoleRule { permissions: Patterns(permissions), condition })
}

/// An object with no other fields than these.
pub(super) fn object_of<'a>(value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or_else(|| "must be an object".to_owned())?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(other) => Err(format!("has {other:?}; there are {}", known.join(", "))),
        None => Ok(object),
    }
}

/// A thing that somebody asks about: what is not said, it does not have.
pub(super) fn thing() -> Rule<impl Reads<Attributes>, impl Describes> {
    let describe = || {
        json!({
            "type": "object",
            "description": "what is left out, it does not have; without any `resource` nothing is known of it",
            "properties": {
                "id": { "type": "string" },
                "owner": { "type": "string" },
                "assignee": { "type": "string" },
                "collaborators": { "type": "object", "additionalProperties": { "type": "string" } },
                "read_only": { "type": "boolean" },
                "limited": { "type": "boolean" },
                "fields": { "type": "object", "additionalProperties": { "type": "string" } },
            },
        })
    };
    value::rule(describe, read_thing)
}

fn read_thing(value: &Value) -> Result<Attributes, String> {
    let known = ["id", "owner", "assignee", "collaborators", "read_only", "limited", "fields"];
    let object = object_of(value, &known)?;
    let text = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 512 => Ok(Some(text.as_str())),
        Some(_) => Err(format!("has {name} that is no text of at most 512 bytes")),
    };
    let user = |name: &str| {
        let id = text(name)?.map(str::parse::<UserId>).transpose();
        id.map_err(|_| format!("has {name} that is no id of a user"))
    };
    let flag = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("has {name} that is neither true nor false")),
    };
    Ok(Attributes {
        whole: true,
        id: text("id")?.map(str::to_owned),
        owner: user("owner")?,
        assignee: user("assignee")?,
        collaborators: pairs(object, "collaborators", |who, level| {
            Some((who.parse().ok()?, level.parse().ok()?))
        })?,
        fields: pairs(object, "fields", |field, value| Some((field.parse().ok()?, value.to_owned())))?,
        read_only: flag("read_only")?,
        limited: flag("limited")?,
    })
}

fn pairs<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl Fn(&str, &str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let wrong = |what: &str| {
        let fields = Field::ALL.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        let levels = Level::ALL.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
        format!(
            "has {name} that are wrong at {what:?}: fields are {fields}; collaborators are user ids with {levels}"
        )
    };
    match object.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(inner)) if inner.len() <= COLLABORATORS_MAX => {
            let one = |(key, value): (&String, &Value)| {
                value.as_str().and_then(|value| read(key, value)).ok_or_else(|| wrong(key))
            };
            inner.iter().map(one).collect()
        }
        Some(_) => Err(wrong("")),
    }
}
