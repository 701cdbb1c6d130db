//! From a request body to a bundle: split, checked, and kept as text.
//!
//! Never panics and never recurses on what a client sent: serde_json skips values without recursion, and
//! an object's depth is measured before anything descends into it.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{
    object::{self, Object, is_id, is_spec_version, string},
    text::{Picked, same_content},
};
use crate::kernel::FieldError;

/// Most errors that one answer lists.
const ERRORS_MAX: usize = 20;
/// Most objects of one bundle: keeps what we remember of each within the size of the largest body.
const OBJECTS_MAX: usize = 250_000;

const FIELDS: &[&str] = &["type", "id", "spec_version", "objects"];

/// A STIX bundle.
#[derive(Debug)]
pub struct Bundle {
    /// `bundle--<uuid>`.
    pub id: String,
    /// Its objects in order; what stood twice with the same content stands once.
    pub objects: Vec<Object>,
}

/// Why a body is not a bundle.
#[derive(Debug, PartialEq, Eq)]
pub enum BundleError {
    /// It is not JSON; a sentence that says where.
    Malformed(String),
    /// It is JSON; every bad field, up to 20.
    Invalid(Vec<FieldError>),
}

/// Reads a request body. Takes about as much memory as the body, beside the body.
pub fn parse(body: &[u8]) -> Result<Bundle, BundleError> {
    let whole: &RawValue = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if !whole.get().starts_with('{') {
        return Err(invalid("", "must be a JSON object: this is not a STIX bundle"));
    }
    let fields =
        Picked::from(whole.get(), FIELDS).map_err(|_| invalid("", "has a key that is not valid Unicode"))?;
    let mut errors = Vec::new();
    let id = read_head(&fields, &mut errors);
    let objects = read_objects(&fields, &mut errors);
    match id {
        Some(id) if errors.is_empty() => Ok(Bundle { id, objects: without_repeats(objects)? }),
        _ => Err(BundleError::Invalid(errors)),
    }
}

fn malformed(error: &serde_json::Error) -> BundleError {
    let (line, column) = (error.line(), error.column());
    BundleError::Malformed(match error.classify() {
        Category::Eof => format!(
            "the body ends at line {line} column {column}, before its JSON does: it was cut off; send all of it"
        ),
        _ => format!("the body is not JSON: {error}"),
    })
}

fn invalid(pointer: &str, detail: &str) -> BundleError {
    BundleError::Invalid(vec![FieldError::new(pointer, detail)])
}

fn read_head(fields: &Picked<'_>, errors: &mut Vec<FieldError>) -> Option<String> {
    for name in fields.doubled() {
        errors.push(FieldError::new(format!("/{name}"), "stands twice; remove one of them"));
    }
    if fields.get("type").and_then(string).as_deref() != Some("bundle") {
        errors.push(FieldError::new("/type", "must be \"bundle\": this is not a STIX bundle"));
        return None;
    }
    if fields.get("spec_version").is_some_and(|value| !is_spec_version(value)) {
        errors.push(FieldError::new("/spec_version", "must be \"2.0\" or \"2.1\""));
    }
    let id = fields.get("id").and_then(string).filter(|id| is_id(id, "bundle"));
    if id.is_none() {
        errors.push(FieldError::new("/id", "must be \"bundle--<uuid>\""));
    }
    id
}

fn read_objects(fields: &Picked<'_>, errors: &mut Vec<FieldError>) -> Vec<Object> {
    let list = fields.get("objects").map(RawValue::get).filter(|text| text.starts_with('['));
    let Some(list) = list else {
        let detail = "must be an array of STIX objects: this is not a STIX bundle";
        errors.push(FieldError::new("/objects", detail));
        return Vec::new();
    };
    let mut objects = Vec::new();
    let visitor = ObjectsVisitor { objects: &mut objects, errors: &mut *errors };
    if let Err(error) = serde_json::Deserializer::from_str(list).deserialize_seq(visitor) {
        errors.push(FieldError::new("/objects", error.to_string()));
    }
    objects
}

struct ObjectsVisitor<'a> {
    objects: &'a mut Vec<Object>,
    errors: &'a mut Vec<FieldError>,
}

impl<'de> Visitor<'de> for ObjectsVisitor<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of STIX objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for at in 0..OBJECTS_MAX {
            if self.errors.len() >= ERRORS_MAX {
                break;
            }
            let Some(raw) = list.next_element::<&'de RawValue>()? else { return Ok(()) };
            let object = object::read(raw, &format!("/objects/{at}"), self.errors);
            // Once something is wrong nothing is kept: only the errors are answered.
            self.objects.extend(object.filter(|_| self.errors.is_empty()));
        }
        self.errors.truncate(ERRORS_MAX);
        let mut more = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        if more && self.errors.is_empty() {
            let detail = format!("has more than {OBJECTS_MAX} objects; send it as several bundles");
            self.errors.push(FieldError::new("/objects", detail));
        }
        Ok(())
    }
}

/// Takes out what stands twice with the same content; with different content there is no telling which is meant.
fn without_repeats(mut objects: Vec<Object>) -> Result<Vec<Object>, BundleError> {
    let mut order: Vec<(usize, &Object)> = objects.iter().enumerate().collect();
    order.sort_by(|(left_at, left), (right_at, right)| (left.key(), left_at).cmp(&(right.key(), right_at)));
    let (mut repeats, mut errors) = (BTreeSet::new(), Vec::new());
    for group in order.chunk_by(|(_, left), (_, right)| left.key() == right.key()) {
        let Some(((first_at, first), rest)) = group.split_first() else { continue };
        for (at, object) in rest {
            if same_content(first.body.get(), object.body.get()) {
                repeats.insert(*at);
            } else {
                errors.push((*at, *first_at));
            }
        }
    }
    if !errors.is_empty() {
        errors.sort_unstable();
        errors.truncate(ERRORS_MAX);
        return Err(BundleError::Invalid(errors.into_iter().map(contradiction).collect()));
    }
    let mut at = 0..;
    objects.retain(|_| at.next().is_none_or(|at: usize| !repeats.contains(&at)));
    Ok(objects)
}

fn contradiction((at, first): (usize, usize)) -> FieldError {
    let detail = format!("has the id and version of /objects/{first} but other content; keep one of them");
    FieldError::new(format!("/objects/{at}"), detail)
}
