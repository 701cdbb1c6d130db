//! One STIX object: its own text, and what lists and quotas need to know of it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::text::{Picked, compact};
use crate::{
    features::quotas::Resource,
    kernel::{FieldError, Millis},
};

/// Longest text of one object.
pub(super) const OBJECT_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of one object.
pub(super) const DEPTH_MAX: usize = 64;
/// How much of a name is kept for lists; STIX sets no bound.
pub const NAME_CHARS_MAX: usize = 256;
const TYPE_BYTES_MAX: usize = 250;

const FIELDS: &[&str] = &["type", "id", "spec_version", "created", "modified", "name", "external_references"];

/// Properties of which two make an object ambiguous: they say which object it is.
const IDENTITY: [&str; 4] = ["type", "id", "created", "modified"];

/// STIX 2.1 sections 4 and 5: domain and relationship objects, which must have `created` and `modified`.
const VERSIONED: &[&str] = &[
    "attack-pattern",
    "campaign",
    "course-of-action",
    "grouping",
    "identity",
    "incident",
    "indicator",
    "infrastructure",
    "intrusion-set",
    "location",
    "malware",
    "malware-analysis",
    "note",
    "observed-data",
    "opinion",
    "relationship",
    "report",
    "sighting",
    "threat-actor",
    "tool",
    "vulnerability",
];

/// Catalogues whose external ids people search by, `T1059` or `CAPEC-66`.
const CATALOGUES: [&str; 4] = ["mitre-attack", "mitre-ics-attack", "mitre-mobile-attack", "capec"];

/// One version of one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Object {
    /// `<type>--<uuid>`.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `modified`, else `created`, else empty.
    pub version: String,
    /// The first 256 characters of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id in ATT&CK or CAPEC, else the first external id it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The moment that `version` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
    /// Its own JSON text without insignificant white space.
    pub body: Box<RawValue>,
}

impl Object {
    /// What two objects must share to be one version of one thing.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.id, &self.version)
    }

    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        self.body.get().len()
    }
}

/// The quota that objects of a type count to.
pub fn counts_to(kind: &str) -> Option<Resource> {
    match kind {
        "indicator" => Some(Resource::MaxIocsPerMonth),
        "threat-actor" | "intrusion-set" => Some(Resource::MaxThreatActors),
        "campaign" => Some(Resource::MaxCampaigns),
        _ => None,
    }
}

/// Reads one object; what is wrong with it goes to `errors`, with pointers below `at`.
pub(super) fn read(raw: &RawValue, at: &str, errors: &mut Vec<FieldError>) -> Option<Object> {
    let known = errors.len();
    let object = Reader { at, errors }.object(raw);
    object.filter(|_| errors.len() == known)
}

struct Reader<'e> {
    at: &'e str,
    errors: &'e mut Vec<FieldError>,
}

impl Reader<'_> {
    fn object(&mut self, raw: &RawValue) -> Option<Object> {
        let body = self.body(raw.get())?;
        let Ok(fields) = Picked::from(body.get(), FIELDS) else {
            return self.wrong("", "must be an object whose keys are valid Unicode");
        };
        for name in fields.doubled().into_iter().filter(|name| IDENTITY.contains(name)) {
            self.wrong::<()>(name, "stands twice; remove one of them");
        }
        self.spec_version(fields.get("spec_version"));
        let kind = self.kind(fields.get("type"));
        let id = kind.as_deref().and_then(|kind| self.id(kind, fields.get("id")));
        let created = self.moment("created", fields.get("created"));
        let modified = self.moment("modified", fields.get("modified"));
        if kind.as_deref().is_some_and(|kind| VERSIONED.contains(&kind)) {
            for (name, value) in [("created", fields.get("created")), ("modified", fields.get("modified"))] {
                if value.is_none() {
                    self.wrong::<()>(name, "is required for objects of this type (STIX 2.1, section 3.2)");
                }
            }
        }
        let name = fields.get("name").and_then(|value| self.name(value));
        let external_id = fields.get("external_references").and_then(external_id);
        let (version, modified_ms) = modified.or(created).unzip();
        Some(Object {
            id: id?,
            kind: kind?,
            version: version.unwrap_or_default(),
            name,
            external_id,
            modified_ms,
            body,
        })
    }

    fn body(&mut self, text: &str) -> Option<Box<RawValue>> {
        if !text.starts_with('{') {
            return self.wrong("", "must be an object");
        }
        let (text, depth) = compact(text);
        if text.len() > OBJECT_BYTES_MAX {
            return self
                .wrong("", &format!("is {} bytes long; at most {OBJECT_BYTES_MAX} are taken", text.len()));
        }
        if depth > DEPTH_MAX {
            return self.wrong("", &format!("is nested {depth} deep; at most {DEPTH_MAX} are taken"));
        }
        RawValue::from_string(text).ok()
    }

    fn spec_version(&mut self, value: Option<&RawValue>) {
        if value.is_some_and(|value| !is_spec_version(value)) {
            self.wrong::<()>("spec_version", "must be \"2.0\" or \"2.1\"");
        }
    }

    fn kind(&mut self, value: Option<&RawValue>) -> Option<String> {
        let sound =
            |kind: &String| (1..=TYPE_BYTES_MAX).contains(&kind.len()) && !kind.chars().any(char::is_control);
        match value.and_then(string).filter(sound) {
            Some(kind) => Some(kind),
            None => self.wrong("type", "must be a STIX type, such as \"indicator\""),
        }
    }

    fn id(&mut self, kind: &str, value: Option<&RawValue>) -> Option<String> {
        match value.and_then(string).filter(|id| is_id(id, kind)) {
            Some(id) => Some(id),
            None => self.wrong("id", &format!("must be \"{kind}--<uuid>\"")),
        }
    }

    fn moment(&mut self, name: &str, value: Option<&RawValue>) -> Option<(String, i64)> {
        let text = string(value?);
        match text.and_then(|text| Millis::parse(&text).map(|moment| (text, moment.0))) {
            Some(moment) => Some(moment),
            None => self.wrong(name, "must be a time, such as \"2026-11-23T08:30:00.000Z\" (RFC 3339)"),
        }
    }

    fn name(&mut self, value: &RawValue) -> Option<String> {
        match string(value) {
            Some(name) => Some(name.chars().take(NAME_CHARS_MAX).collect()),
            None => self.wrong("name", "must be a string"),
        }
    }

    fn wrong<T>(&mut self, name: &str, detail: &str) -> Option<T> {
        let pointer = if name.is_empty() { self.at.to_owned() } else { format!("{}/{name}", self.at) };
        self.errors.push(FieldError::new(pointer, detail));
        None
    }
}

/// The string that a JSON text is; `None` for anything else.
pub(super) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether `id` is `<kind>--<uuid>`, the UUID with its hyphens.
pub(super) fn is_id(id: &str, kind: &str) -> bool {
    let uuid = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix("--"));
    uuid.is_some_and(|uuid| uuid.len() == 36 && Uuid::try_parse(uuid).is_ok())
}

/// Whether a `spec_version` is one we read. 2.0 objects have none.
pub(super) fn is_spec_version(value: &RawValue) -> bool {
    matches!(string(value).as_deref(), Some("2.0" | "2.1"))
}

/// A reference that is not well-formed is kept in the text and not searched by.
fn external_id(references: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Reference {
        source_name: Option<String>,
        external_id: Option<String>,
    }
    let references: Vec<Reference> = serde_json::from_str(references.get()).ok()?;
    let listed = |reference: &&Reference| {
        reference.source_name.as_deref().is_some_and(|name| CATALOGUES.contains(&name))
    };
    let named = || references.iter().filter(|reference| reference.external_id.is_some());
    let chosen = named().find(listed).or_else(|| named().next())?;
    chosen.external_id.clone().filter(|id| id.chars().count() <= NAME_CHARS_MAX)
}
