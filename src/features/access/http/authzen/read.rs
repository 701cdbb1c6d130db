//! Reading questions of AuthZEN: leniently as to what is unknown, strictly as to what must be there.

use serde_json::{Map, Value};

use crate::{
    features::access::model::{Circumstances, External},
    kernel::{Attributes, Field, Millis, Permission, UserId},
    web::{Cx, Problem},
};

/// Longest id, type or name that is looked at.
const NAME_BYTES_MAX: usize = 1024;

/// An object of the request.
pub(super) type Object = Map<String, Value>;

/// Somebody, something or some doing, as far as the request names it.
#[derive(Clone, Debug, Default)]
pub(super) struct Entity {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) properties: Object,
}

/// What must be there of an entity.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Subject,
    Resource,
    /// Whose id is what is searched for, and is ignored when it is there.
    SearchedSubject,
    SearchedResource,
    Action,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Subject | Self::SearchedSubject => "subject",
            Self::Resource | Self::SearchedResource => "resource",
            Self::Action => "action",
        }
    }

    fn wants(self) -> &'static [&'static str] {
        match self {
            Self::Subject | Self::Resource => &["type", "id"],
            Self::SearchedSubject | Self::SearchedResource => &["type"],
            Self::Action => &["name"],
        }
    }
}

/// The body as an object; everything wrong with it is 400.
pub(super) fn body(cx: &Cx) -> Result<Object, Problem> {
    cx.require_json().map_err(|problem| Problem::malformed(problem.detail))?;
    match serde_json::from_slice(&cx.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Problem::malformed("the body must be a JSON object")),
        Err(error) => Err(Problem::malformed(format!("the body is not JSON: {error}"))),
    }
}

/// An entity of `item`; what is missing there is looked for in `defaults`.
fn entity(item: &Object, defaults: &Object, part: Part) -> Result<Entity, String> {
    let name = part.name();
    let object = |from: &'_ Object| match from.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object.clone())),
        Some(_) => Err(format!("{name} must be an object")),
    };
    let (own, other) = (object(item)?, object(defaults)?);
    let Some(entity) = own.as_ref().or(other.as_ref()) else { return Err(format!("{name} is required")) };
    let text = |key: &str| {
        let value = entity.get(key).or_else(|| other.as_ref()?.get(key)).filter(|value| !value.is_null());
        match value {
            None => Err(format!("{name}.{key} is required")),
            Some(Value::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(text.clone()),
            Some(_) => Err(format!("{name}.{key} must be text of at most {NAME_BYTES_MAX} bytes")),
        }
    };
    let properties = match entity.get("properties") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(properties)) => properties.clone(),
        Some(_) => return Err(format!("{name}.properties must be an object")),
    };
    let mut read = Entity { properties, ..Entity::default() };
    for key in part.wants() {
        match *key {
            "id" => read.id = text("id")?,
            key => read.kind = text(key)?,
        }
    }
    Ok(read)
}

/// The circumstances that a question names.
fn context(item: &Object, defaults: &Object) -> Result<Object, String> {
    match item.get("context").or_else(|| defaults.get("context")) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(context)) => Ok(context.clone()),
        Some(_) => Err("context must be an object".to_owned()),
    }
}

/// A whole question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) subject: Entity,
    pub(super) action: Entity,
    pub(super) resource: Entity,
    pub(super) context: Object,
}

impl Question {
    pub(super) fn read(item: &Object, defaults: &Object) -> Result<Self, String> {
        Ok(Self {
            subject: entity(item, defaults, Part::Subject)?,
            action: entity(item, defaults, Part::Action)?,
            resource: entity(item, defaults, Part::Resource)?,
            context: context(item, defaults)?,
        })
    }

    /// One that names what a search names; what is searched for stays empty.
    pub(super) fn parts(body: &Object, parts: &[Part]) -> Result<Self, String> {
        let none = Object::new();
        let (mut subject, mut action, mut resource) = Default::default();
        for part in parts {
            let read = entity(body, &none, *part)?;
            match part {
                Part::Subject | Part::SearchedSubject => subject = read,
                Part::Resource | Part::SearchedResource => resource = read,
                Part::Action => action = read,
            }
        }
        Ok(Self { subject, action, resource, context: context(body, &none)? })
    }

    /// The permission of the table that it is about.
    pub(super) fn permission(&self) -> Option<Permission> {
        format!("{}:{}", self.action.kind, self.resource.kind).parse().ok()
    }

    /// The same about a thing that the table does not know.
    pub(super) fn external(&self) -> External {
        External {
            action: self.action.kind.clone(),
            kind: self.resource.kind.clone(),
            id: self.resource.id.clone(),
            properties: self.resource.properties.clone(),
            subject: self.subject.properties.clone(),
            action_properties: self.action.properties.clone(),
            context: self.context.clone(),
        }
    }

    /// What the service says of a thing of ours. Only when it says anything is that everything: a rule that looks further
    /// must not take silence for an answer.
    pub(super) fn attributes(&self) -> Attributes {
        let said = &self.resource.properties;
        let user =
            |name: &str| said.get(name).and_then(Value::as_str).and_then(|id| id.parse::<UserId>().ok());
        let flag = |name: &str| said.get(name).and_then(Value::as_bool);
        let fields = Field::ALL.iter().filter_map(|field| {
            let value = said.get(field.name()).and_then(Value::as_str)?;
            Some((*field, value.to_owned()))
        });
        let people = said.get("collaborators").and_then(Value::as_object).into_iter().flatten();
        let people =
            people.filter_map(|(who, level)| Some((who.parse().ok()?, level.as_str()?.parse().ok()?)));
        Attributes {
            whole: !said.is_empty(),
            id: Some(self.resource.id.clone()),
            owner: user("owner"),
            assignee: user("assignee"),
            collaborators: people.collect(),
            fields: fields.collect(),
            read_only: flag("read_only"),
            limited: flag("limited"),
        }
    }

    /// The circumstances: those that it names, and what is known otherwise. What it names in a form that is not
    /// understood is not known.
    pub(super) fn circumstances(&self, known: &Circumstances) -> Circumstances {
        let text = |name: &str| self.context.get(name).and_then(Value::as_str);
        Circumstances {
            at: text("time").and_then(Millis::parse).unwrap_or(known.at),
            ip: text("ip").and_then(|ip| ip.parse().ok()).or(known.ip),
            mfa: self.context.get("mfa").and_then(Value::as_bool).or(known.mfa),
            authenticated: text("authenticated_at").and_then(Millis::parse).or(known.authenticated),
        }
    }
}

/// Reads anything as a question; the fuzzer's way in.
pub fn sketch(body: &[u8]) {
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else { return };
    let Ok(question) = Question::read(&body, &body) else { return };
    let known = Circumstances::default();
    let _ = (question.attributes(), question.circumstances(&known), question.external());
}
