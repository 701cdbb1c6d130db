//! Reading bodies and queries field by field, so that every bad one is listed and none is overlooked.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    Problem, Version,
    value::{self, Describes, Reads, Rule},
};
use crate::kernel::{FieldError, Window};

/// The fields of a JSON object.
pub struct Fields {
    version: Version,
    at: String,
    object: Map<String, Value>,
    read: BTreeSet<String>,
    errors: Vec<FieldError>,
    /// When no body is read but the reading itself is described.
    sketch: Option<Sketch>,
}

/// The JSON Schema of an object, in the making.
#[derive(Default)]
struct Sketch {
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Sketch {
    fn into_schema(self) -> Value {
        let mut schema = json!({
            "type": "object", "properties": self.properties, "additionalProperties": false,
        });
        if let (Some(schema), false) = (schema.as_object_mut(), self.required.is_empty()) {
            schema.insert("required".to_owned(), json!(self.required));
        }
        schema
    }
}

impl Fields {
    /// The JSON Schema of the bodies that `read` takes.
    pub(super) fn schema<T>(version: Version, read: impl FnOnce(&mut Fields) -> T) -> Value {
        let mut fields = Self::new(version, String::new(), Map::new());
        fields.sketch = Some(Sketch::default());
        read(&mut fields);
        fields.sketch.unwrap_or_default().into_schema()
    }

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
        Self { version, at, object, read: BTreeSet::new(), errors: Vec::new(), sketch: None }
    }

    /// A field that must be there.
    pub fn required<T>(&mut self, name: &str, rule: Rule<impl Reads<T>, impl Describes>) -> Option<T> {
        let key = self.version.key(name);
        if let Some(sketch) = &mut self.sketch {
            sketch.required.push(key);
            return self.optional(name, rule);
        }
        if self.object.get(&key).is_none_or(Value::is_null) {
            self.read.insert(key.clone());
            self.wrong(&key, "is required".to_owned());
            return None;
        }
        self.optional(name, rule)
    }

    /// A field that may be absent or null.
    pub fn optional<T>(&mut self, name: &str, rule: Rule<impl Reads<T>, impl Describes>) -> Option<T> {
        let key = self.version.key(name);
        if let Some(sketch) = &mut self.sketch {
            sketch.properties.insert(key, (rule.schema)());
            return None;
        }
        self.read.insert(key.clone());
        let value = self.object.get(&key).filter(|value| !value.is_null())?;
        match (rule.read)(value) {
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
        if let Some(sketch) = &mut self.sketch {
            sketch.properties.insert(key, Self::schema(self.version, read));
            return None;
        }
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

    /// Refuses a field that this request may not change, with the reason.
    pub fn forbid(&mut self, name: &str, why: &str) {
        let key = self.version.key(name);
        self.read.insert(key.clone());
        if self.object.contains_key(&key) {
            self.wrong(&key, why.to_owned());
        }
    }

    /// Whether a field is there and null: in a change, it is to be taken away.
    pub fn is_null(&self, name: &str) -> bool {
        self.object.get(&self.version.key(name)).is_some_and(Value::is_null)
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
    pairs: Vec<(String, String)>,
    read: BTreeSet<String>,
    errors: Vec<FieldError>,
    /// When no query is read but the reading itself is described.
    sketch: Option<Vec<Value>>,
}

impl QueryFields {
    pub(super) fn parse(query: &str) -> Self {
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
        Self { pairs, read: BTreeSet::new(), errors, sketch: None }
    }

    /// The parameters that `read` takes, as an API description lists them.
    pub(super) fn parameters(read: &dyn Fn(&mut QueryFields)) -> Vec<Value> {
        let mut query = Self::parse("");
        query.sketch = Some(Vec::new());
        read(&mut query);
        query.sketch.unwrap_or_default()
    }

    /// A parameter as text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, || json!({ "type": "string" }))
    }

    fn take(&mut self, name: &str, schema: impl FnOnce() -> Value) -> Option<String> {
        if let Some(sketch) = &mut self.sketch {
            sketch.push(json!({ "name": name, "in": "query", "schema": schema() }));
        }
        self.read.insert(name.to_owned());
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// A parameter that a rule for text understands.
    pub fn parsed<T>(&mut self, name: &str, rule: Rule<impl Reads<T>, impl Describes>) -> Option<T> {
        let text = self.take(name, rule.schema)?;
        match (rule.read)(&Value::String(text)) {
            Ok(value) => Some(value),
            Err(why) => {
                self.errors.push(FieldError::new(name, why));
                None
            }
        }
    }

    /// `limit` and `cursor`.
    pub fn window(&mut self) -> Window {
        let limit = self.parsed("limit", value::number(1, i64::from(Window::LIMIT_MAX)));
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        let describe = || json!({ "type": "string", "description": "next_cursor of the page before" });
        let after = self.parsed(
            "cursor",
            value::rule(describe, |text| {
                let bytes = text.as_str().and_then(crate::kernel::from_hex);
                let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                key.ok_or_else(|| "is not a cursor of this server; start again without it".to_owned())
            }),
        );
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
