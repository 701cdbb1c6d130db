//! Reading bodies and queries field by field, so that every bad one is listed and none is overlooked.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Problem, Version};
use crate::kernel::{FieldError, Window};

/// The fields of a JSON object.
pub struct Fields {
    version: Version,
    at: String,
    object: Map<String, Value>,
    read: BTreeSet<String>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads a body that must be a JSON object.
    pub(super) fn parse(version: Version, body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
        match value {
            Value::Object(object) => Ok(Self::new(version, String::new(), object)),
            _ => Err(Problem::field("", "must be a JSON object")),
        }
    }

    fn new(version: Version, at: String, object: Map<String, Value>) -> Self {
        Self { version, at, object, read: BTreeSet::new(), errors: Vec::new() }
    }

    /// A field that must be there.
    pub fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let key = self.version.key(name);
        if self.object.get(&key).is_none_or(Value::is_null) {
            self.read.insert(key.clone());
            self.wrong(&key, "is required".to_owned());
            return None;
        }
        self.optional(name, read)
    }

    /// A field that may be absent or null.
    pub fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let key = self.version.key(name);
        self.read.insert(key.clone());
        let value = self.object.get(&key).filter(|value| !value.is_null())?;
        match read(value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(&key, why);
                None
            }
        }
    }

    /// An object within, read by `read`; its own bad and unknown fields are listed too.
    pub fn nested<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> Option<T>) -> Option<T> {
        let key = self.version.key(name);
        self.read.insert(key.clone());
        match self.object.get(&key) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => {
                let mut inner = Fields::new(self.version, format!("{}/{key}", self.at), object.clone());
                let value = read(&mut inner);
                inner.note_unknown();
                self.errors.append(&mut inner.errors);
                value
            }
            Some(_) => {
                self.wrong(&key, "must be an object".to_owned());
                None
            }
        }
    }

    /// Whether the body has the field at all.
    pub fn has(&self, name: &str) -> bool {
        self.object.contains_key(&self.version.key(name))
    }

    /// Refuses a field that this request may not change, with the reason.
    pub fn forbid(&mut self, name: &str, why: &str) {
        let key = self.version.key(name);
        self.read.insert(key.clone());
        if self.object.contains_key(&key) {
            self.wrong(&key, why.to_owned());
        }
    }

    /// Lists a bad field found by a rule over several.
    pub fn reject(&mut self, name: &str, why: impl Into<String>) {
        let key = self.version.key(name);
        self.wrong(&key, why.into());
    }

    /// 422 if any field was bad, missing or unknown.
    pub fn finish(mut self) -> Result<(), Problem> {
        self.note_unknown();
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.errors)) }
    }

    fn note_unknown(&mut self) {
        let unknown: Vec<String> =
            self.object.keys().filter(|key| !self.read.contains(*key)).cloned().collect();
        for key in unknown {
            self.wrong(&key, "is not a field of this request".to_owned());
        }
    }

    fn wrong(&mut self, key: &str, why: String) {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        self.errors.push(FieldError::new(format!("{}/{escaped}", self.at), why));
    }
}

/// The parameters of a query.
pub struct QueryFields {
    version: Version,
    pairs: Vec<(String, String)>,
    read: BTreeSet<String>,
    errors: Vec<FieldError>,
}

impl QueryFields {
    pub(super) fn parse(version: Version, query: &str) -> Self {
        let mut errors = Vec::new();
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (super::value::percent_decoded(name), super::value::percent_decoded(value)) {
                (Some(name), Some(_)) if pairs.iter().any(|(known, _)| *known == name) => {
                    errors.push(FieldError::new(name, "is given twice"));
                }
                (Some(name), Some(value)) => pairs.push((name, value)),
                _ => errors.push(FieldError::new(name, "is not percent-encoded UTF-8")),
            }
        }
        Self { version, pairs, read: BTreeSet::new(), errors }
    }

    /// A parameter as text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let key = if self.version == Version::V1 { name.to_owned() } else { self.version.key(name) };
        self.read.insert(key.clone());
        self.pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone())
    }

    /// A parameter that `read` understands.
    pub fn parse_as<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.errors.push(FieldError::new(name, why));
                None
            }
        }
    }

    /// `limit` and `cursor`.
    pub fn window(&mut self) -> Window {
        let limit = self.parse_as("limit", |text| match text.parse() {
            Ok(limit) if (1..=Window::LIMIT_MAX).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {}", Window::LIMIT_MAX)),
        });
        let after = self.parse_as("cursor", |text| {
            let bytes = crate::kernel::from_hex(text).and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| "is not a cursor of this server; start again without it".to_owned())
        });
        Window { limit: limit.unwrap_or(Window::LIMIT_DEFAULT), after }
    }

    /// 422 if any parameter was bad or unknown.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            if !self.read.contains(name) {
                self.errors.push(FieldError::new(name, "is not a parameter of this request"));
            }
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&self.errors)) }
    }
}
