//! Conditions of rules: typed, bounded, written as JSON.
//!
//! A condition is an object with one key: `{"owner":true}`, `{"assignee":true}`, `{"collaborator":["owner"]}`,
//! `{"field":"format","in":["json"]}` (the one with two), `{"read_only":true}`, `{"limited":true}`,
//! `{"ip_in":["10.0.0.0/8"]}`, `{"time":{"from":"07:00","to":"20:00","weekdays":["mon"],"offset_minutes":60}}`,
//! `{"mfa":true}`, `{"auth_age_max_seconds":300}`, `{"group":"<id>"}`, `{"all":[...]}`, `{"any":[...]}`, `{"not":{...}}`.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

use super::window::DayWindow;
use crate::kernel::{Attributes, Field, FieldError, GroupId, Level, Millis, Network, UserId};

/// How deep conditions nest at most.
pub const DEPTH_MAX: usize = 6;
/// How many parts one condition has at most.
pub const PARTS_MAX: usize = 64;
/// How many values a set has at most.
pub const VALUES_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 128;

/// What must hold for a rule to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The user owns the thing.
    Owner,
    /// The thing is assigned to the user.
    Assignee,
    /// The user was let into the thing at one of these levels.
    Collaborator(Vec<Level>),
    /// A field of the thing has one of these values.
    FieldIn(Field, Vec<String>),
    /// Only reading is meant.
    ReadOnly,
    /// Only the limited part is meant.
    Limited,
    /// The request comes from one of these networks.
    IpIn(Vec<Network>),
    /// It is this time of day, on one of these weekdays.
    Time(DayWindow),
    /// The session was opened with a second factor.
    Mfa,
    /// The user proved who it is at most so many seconds ago.
    AuthAgeMax(i64),
    /// The user is in the group.
    Group(GroupId),
    /// All of these.
    All(Vec<Condition>),
    /// Any of these.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
}

/// True, false, or not to be known yet (Kleene's third value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// What decides it is not known yet.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Truth {
    /// The opposite; what is unknown stays so.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// How, when and from where it is asked. What is `None` is not known; a final decision then counts it against the asker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The moment.
    pub at: Millis,
    /// The address that the request came from.
    pub ip: Option<IpAddr>,
    /// Whether the session was opened with a second factor.
    pub mfa: Option<bool>,
    /// When the user last proved who it is.
    pub authenticated: Option<Millis>,
}

/// Whose rights are asked about, as far as conditions look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The user; none for who is no member.
    pub user: Option<UserId>,
    /// Its groups, sorted.
    pub groups: Vec<GroupId>,
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, who: &Holder, thing: &Attributes, how: &Circumstances) -> Truth {
        match self {
            Self::Owner => is_user(who, thing.owner, thing.whole),
            Self::Assignee => is_user(who, thing.assignee, thing.whole),
            Self::Collaborator(levels) => collaborates(who, levels, thing),
            Self::FieldIn(field, values) => match thing.value(*field) {
                Some(value) => values.iter().any(|one| one == value).into(),
                None => absent(thing.whole),
            },
            Self::ReadOnly => thing.read_only.map_or_else(|| absent(thing.whole), Truth::from),
            Self::Limited => thing.limited.map_or_else(|| absent(thing.whole), Truth::from),
            Self::All(parts) => all(parts.iter().map(|part| part.holds(who, thing, how))),
            Self::Any(parts) => {
                all(parts.iter().map(|part| part.holds(who, thing, how).opposite())).opposite()
            }
            Self::Not(inner) => inner.holds(who, thing, how).opposite(),
            other => other.holds_for(who, how),
        }
    }

    /// The conditions that do not look at the thing.
    fn holds_for(&self, who: &Holder, how: &Circumstances) -> Truth {
        match self {
            Self::IpIn(networks) => {
                how.ip.map_or(Truth::Unknown, |ip| networks.iter().any(|network| network.contains(ip)).into())
            }
            Self::Time(window) => window.contains(how.at).into(),
            Self::Mfa => how.mfa.map_or(Truth::Unknown, Truth::from),
            Self::AuthAgeMax(seconds) => how.authenticated.map_or(Truth::Unknown, |since| {
                (how.at.0.saturating_sub(since.0) <= seconds.saturating_mul(1000)).into()
            }),
            Self::Group(group) => who.groups.binary_search(group).is_ok().into(),
            _ => Truth::Unknown,
        }
    }

    /// Whether it looks at the thing at all, somewhere.
    pub fn looks_at_thing(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::looks_at_thing),
            Self::Not(inner) => inner.looks_at_thing(),
            Self::IpIn(_) | Self::Time(_) | Self::Mfa | Self::AuthAgeMax(_) | Self::Group(_) => false,
            _ => true,
        }
    }

    /// Whether whoever is held to this condition is held to `other`, too: it is the same, or one of those
    /// that must all hold. Never true by mistake; it may miss what follows by longer reasoning.
    pub fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (mine, theirs) if mine == theirs => true,
            (Self::FieldIn(field, mine), Self::FieldIn(theirs, wider)) => {
                field == theirs && mine.iter().all(|value| wider.contains(value))
            }
            (Self::Collaborator(mine), Self::Collaborator(wider)) => {
                mine.iter().all(|level| wider.contains(level))
            }
            (Self::AuthAgeMax(mine), Self::AuthAgeMax(wider)) => mine <= wider,
            (Self::Any(parts), other) => !parts.is_empty() && parts.iter().all(|part| part.implies(other)),
            (mine, Self::All(parts)) => parts.iter().all(|part| mine.implies(part)),
            (Self::All(parts), other) => parts.iter().any(|part| part.implies(other)),
            (mine, Self::Any(parts)) => parts.iter().any(|part| mine.implies(part)),
            _ => false,
        }
    }

    /// Reads a condition; `pointer` is where it stands in the body.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, FieldError> {
        Reader { parts: 0 }.read(value, pointer, 1)
    }

    /// The JSON that [`Condition::parse`] reads.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Owner => json!({ "owner": true }),
            Self::Assignee => json!({ "assignee": true }),
            Self::Collaborator(levels) => {
                json!({ "collaborator": levels.iter().map(|level| level.name()).collect::<Vec<_>>() })
            }
            Self::FieldIn(field, values) => json!({ "field": field.name(), "in": values }),
            Self::ReadOnly => json!({ "read_only": true }),
            Self::Limited => json!({ "limited": true }),
            Self::IpIn(networks) => {
                json!({ "ip_in": networks.iter().map(ToString::to_string).collect::<Vec<_>>() })
            }
            Self::Time(window) => json!({ "time": window.to_value() }),
            Self::Mfa => json!({ "mfa": true }),
            Self::AuthAgeMax(seconds) => json!({ "auth_age_max_seconds": seconds }),
            Self::Group(group) => json!({ "group": group }),
            Self::All(parts) => json!({ "all": parts.iter().map(Self::to_value).collect::<Vec<_>>() }),
            Self::Any(parts) => json!({ "any": parts.iter().map(Self::to_value).collect::<Vec<_>>() }),
            Self::Not(inner) => json!({ "not": inner.to_value() }),
        }
    }

    /// The groups that it names.
    pub fn groups(&self) -> Vec<GroupId> {
        match self {
            Self::Group(group) => vec![*group],
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::groups).collect(),
            Self::Not(inner) => inner.groups(),
            _ => Vec::new(),
        }
    }
}

/// What a thing does not have is not so; what is not looked up yet may be.
fn absent(whole: bool) -> Truth {
    if whole { Truth::False } else { Truth::Unknown }
}

fn is_user(who: &Holder, named: Option<UserId>, whole: bool) -> Truth {
    match (who.user, named) {
        (None, _) => Truth::False,
        (Some(user), Some(named)) => (user == named).into(),
        (Some(_), None) => absent(whole),
    }
}

fn collaborates(who: &Holder, levels: &[Level], thing: &Attributes) -> Truth {
    let Some(user) = who.user else { return Truth::False };
    let let_in = thing.collaborators.iter().any(|(one, level)| *one == user && levels.contains(level));
    if let_in { Truth::True } else { absent(thing.whole) }
}

/// All of them: one false decides, else one unknown.
fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut so_far = Truth::True;
    for truth in truths {
        match truth {
            Truth::False => return Truth::False,
            Truth::Unknown => so_far = Truth::Unknown,
            Truth::True => {}
        }
    }
    so_far
}

/// Counts what it reads, so that no text grows into a large condition.
struct Reader {
    parts: usize,
}

type Read = Result<Condition, FieldError>;

impl Reader {
    fn read(&mut self, value: &Value, at: &str, depth: usize) -> Read {
        self.parts += 1;
        if depth > DEPTH_MAX {
            return Err(FieldError::new(at, format!("nests deeper than {DEPTH_MAX}")));
        }
        if self.parts > PARTS_MAX {
            return Err(FieldError::new(at, format!("the condition has more than {PARTS_MAX} parts")));
        }
        let object = value.as_object().ok_or_else(|| FieldError::new(at, "must be an object"))?;
        if object.contains_key("field") || object.contains_key("in") {
            return read_field(object, at);
        }
        let mut entries = object.iter();
        let (Some((key, inner)), None) = (entries.next(), entries.next()) else {
            return Err(FieldError::new(at, format!("must have exactly one of the keys {KEYS}")));
        };
        let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        match key.as_str() {
            "all" => self.read_parts(inner, &here, depth).map(Condition::All),
            "any" => self.read_parts(inner, &here, depth).map(Condition::Any),
            "not" => Ok(Condition::Not(Box::new(self.read(inner, &here, depth + 1)?))),
            _ => read_leaf(key, inner, &here),
        }
    }

    fn read_parts(&mut self, value: &Value, at: &str, depth: usize) -> Result<Vec<Condition>, FieldError> {
        let items = value.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| FieldError::new(at, "must be a list of at least one condition"))?;
        let each = items.iter().enumerate();
        each.map(|(number, item)| self.read(item, &format!("{at}/{number}"), depth + 1)).collect()
    }
}

const KEYS: &str = "owner, assignee, collaborator, field (with in), read_only, limited, ip_in, time, mfa, \
                    auth_age_max_seconds, group, all, any, not";

fn read_leaf(key: &str, value: &Value, at: &str) -> Read {
    let only_true = |condition| {
        let wrong = || FieldError::new(at, "must be true; write {\"not\": ...} around it for the opposite");
        if *value == json!(true) { Ok(condition) } else { Err(wrong()) }
    };
    match key {
        "owner" => only_true(Condition::Owner),
        "assignee" => only_true(Condition::Assignee),
        "read_only" => only_true(Condition::ReadOnly),
        "limited" => only_true(Condition::Limited),
        "mfa" => only_true(Condition::Mfa),
        "collaborator" if *value == json!(true) => Ok(Condition::Collaborator(Level::ALL.to_vec())),
        "collaborator" => {
            let words = "must be true, or a list of viewer, collaborator, owner";
            Ok(Condition::Collaborator(read_set(value, at, words, |text| text.parse().ok())?))
        }
        "ip_in" => {
            let what = "must be a list of networks such as 192.0.2.0/24";
            Ok(Condition::IpIn(read_set(value, at, what, Network::unmapped)?))
        }
        "time" => DayWindow::parse(value, at).map(Condition::Time),
        "auth_age_max_seconds" => {
            let seconds = value.as_i64().filter(|seconds| (1..=31_536_000).contains(seconds));
            let wrong = || FieldError::new(at, "must be a whole number of seconds from 1 to 31536000");
            seconds.map(Condition::AuthAgeMax).ok_or_else(wrong)
        }
        "group" => {
            let group = value.as_str().and_then(|text| text.parse().ok());
            group.map(Condition::Group).ok_or_else(|| FieldError::new(at, "must be the id of a group"))
        }
        _ => Err(FieldError::new(at, format!("is no condition; there are {KEYS}"))),
    }
}

fn read_field(object: &Map<String, Value>, at: &str) -> Read {
    if let Some(other) = object.keys().find(|key| !["field", "in"].contains(&key.as_str())) {
        let detail = format!("stands beside field and in; {other:?} is a condition of its own");
        return Err(FieldError::new(at, detail));
    }
    let field = object.get("field").and_then(Value::as_str).and_then(|name| name.parse().ok());
    let field = field.ok_or_else(|| {
        let names = Field::ALL.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        FieldError::new(format!("{at}/field"), format!("must be one of {names}"))
    })?;
    let plain = |text: &str| {
        let chars = text.chars().count();
        let sound = (1..=VALUE_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control);
        sound.then(|| text.to_owned())
    };
    let what = "must be a list of texts of 1 to 128 characters";
    let values = object.get("in").unwrap_or(&Value::Null);
    Ok(Condition::FieldIn(field, read_set(values, &format!("{at}/in"), what, plain)?))
}

/// A list of 1 to [`VALUES_MAX`] texts.
fn read_set<T>(
    value: &Value,
    at: &str,
    what: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FieldError> {
    let items = value.as_array().filter(|items| (1..=VALUES_MAX).contains(&items.len()));
    let wrong = || FieldError::new(at, format!("{what}, 1 to {VALUES_MAX} of them"));
    let items = items.ok_or_else(wrong)?;
    let each = items.iter().enumerate();
    each.map(|(number, item)| {
        let read = item.as_str().and_then(&read);
        read.ok_or_else(|| FieldError::new(format!("{at}/{number}"), what.to_owned()))
    })
    .collect()
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let wrong = |error: FieldError| D::Error::custom(format!("{}: {}", error.pointer, error.detail));
        Self::parse(&value, "").map_err(wrong)
    }
}
