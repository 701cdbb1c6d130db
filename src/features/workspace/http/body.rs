//! Reading what a client says about records and notes, and what it narrows lists to.

use serde_json::{Map, Value, json};

use crate::{
    features::workspace::{
        model::{
            BODY_BYTES_MAX, Classification, Clearable, Content, LINKS_MAX, METADATA_BYTES_MAX, NoteKind,
            Priority, QUERY_WORDS_MAX, RecordKind, SIGNATURES_MAX, Severity, SourceType, Status,
            TAG_CHARS_MAX, TAGS_MAX, tag_term, words_of,
        },
        queries::Narrowed,
    },
    kernel::{Field, NoteId, RecordId, UserId, Window},
    web::{
        Fields, QueryFields,
        value::{self, Describes, Reads, Rule},
    },
};

const TITLE_CHARS_MAX: usize = 200;
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;
const URL_CHARS_MAX: usize = 2_000;
const SIGNATURE_CHARS_MAX: usize = 1_000;
const TACTIC_CHARS_MAX: usize = 100;

/// What a new record says, and who is to work on it.
pub(super) fn read_new(kind: RecordKind, fields: &mut Fields) -> Option<(Content, Option<UserId>)> {
    let title = fields.required(title_of(kind), value::text(TITLE_CHARS_MAX));
    let content = read_rest(kind, fields);
    let assignee = if kind == RecordKind::Activity { None } else { fields.optional("assigned_to", user()) };
    let content = Content { title: Some(title?), ..content };
    Some((with_defaults(kind, content), assignee))
}

fn with_defaults(kind: RecordKind, content: Content) -> Content {
    if kind == RecordKind::Activity {
        return Content { severity: content.severity.or(Some(Severity::Medium)), ..content };
    }
    let source_type =
        if kind == RecordKind::Investigation { Some(SourceType::Text) } else { content.source_type };
    Content {
        status: Some(Status::Open),
        priority: content.priority.or(Some(Priority::Medium)),
        classification: content.classification.or(Some(Classification::Internal)),
        source_type: content.source_type.or(source_type),
        ..content
    }
}

/// What a record is to say from now on.
pub(super) fn read_change(kind: RecordKind, fields: &mut Fields) -> Content {
    let title = fields.optional(title_of(kind), value::text(TITLE_CHARS_MAX));
    let mut content = Content { title, ..read_rest(kind, fields) };
    if kind != RecordKind::Activity {
        content.status = fields.optional("status", value::word::<Status>(Status::NAMES));
        fields.forbid("assigned_to", "is changed by POST to /assign");
    }
    content
}

/// The fields that a change says are `null`: taken away (RFC 7396). One that every record of the kind has stays.
pub(super) fn read_clears(kind: RecordKind, fields: &Fields) -> Vec<Clearable> {
    let named = |(name, field): &(&str, Clearable)| fields.is_null(name).then_some(*field);
    clearable(kind).iter().filter_map(named).collect()
}

fn clearable(kind: RecordKind) -> &'static [(&'static str, Clearable)] {
    match kind {
        RecordKind::Investigation => &[
            ("description", Clearable::Description),
            ("tags", Clearable::Tags),
            ("metadata", Clearable::Metadata),
            ("source_url", Clearable::SourceUrl),
        ],
        RecordKind::Case => &[
            ("description", Clearable::Description),
            ("tags", Clearable::Tags),
            ("investigations", Clearable::Investigations),
        ],
        RecordKind::Activity => &[
            ("description", Clearable::Description),
            ("mitre_technique_id", Clearable::Technique),
            ("mitre_tactic", Clearable::Tactic),
            ("confidence", Clearable::Confidence),
            ("signatures", Clearable::Signatures),
            ("context", Clearable::Metadata),
        ],
    }
}

fn title_of(kind: RecordKind) -> &'static str {
    if kind == RecordKind::Activity { "name" } else { "title" }
}

fn read_rest(kind: RecordKind, fields: &mut Fields) -> Content {
    let description = fields.optional("description", prose(DESCRIPTION_BYTES_MAX));
    if kind == RecordKind::Activity {
        return Content { description, ..read_activity(fields) };
    }
    let mut content = Content {
        description,
        priority: fields.optional("priority", value::word::<Priority>(Priority::NAMES)),
        classification: fields
            .optional("classification", value::word::<Classification>(Classification::NAMES)),
        tags: fields.optional("tags", tags()),
        ..Content::default()
    };
    if kind == RecordKind::Investigation {
        content.metadata = fields.optional("metadata", object());
        content.source_url = fields.optional("source_url", url());
        content.source_type = fields.optional("source_type", value::word::<SourceType>(SourceType::NAMES));
    } else {
        let id = value::parsed::<RecordId>("the id of an investigation");
        content.investigations = fields.optional("investigations", value::list(LINKS_MAX, id));
    }
    content
}

fn read_activity(fields: &mut Fields) -> Content {
    let signature = value::text(SIGNATURE_CHARS_MAX);
    Content {
        mitre_technique_id: fields.optional("mitre_technique_id", technique()),
        mitre_tactic: fields.optional("mitre_tactic", value::text(TACTIC_CHARS_MAX)),
        confidence_milli: fields.optional("confidence", confidence()),
        severity: fields.optional("severity", value::word::<Severity>(Severity::NAMES)),
        signatures: fields.optional("signatures", value::list(SIGNATURES_MAX, signature)),
        metadata: fields.optional("context", object()),
        ..Content::default()
    }
}

/// What a note says.
pub(super) struct NoteBody {
    pub(super) parent: Option<NoteId>,
    pub(super) kind: Option<NoteKind>,
    pub(super) private: Option<bool>,
    pub(super) body: Option<String>,
}

pub(super) fn read_note(fields: &mut Fields, new: bool) -> NoteBody {
    let parent = value::parsed::<NoteId>("the id of a note");
    let body = prose(BODY_BYTES_MAX);
    NoteBody {
        parent: if new { fields.optional("parent", parent) } else { None },
        kind: fields.optional("kind", value::word::<NoteKind>(NoteKind::NAMES)),
        private: fields.optional("private", value::flag()),
        body: if new { fields.required("body", body) } else { fields.optional("body", body) },
    }
}

/// A user's id.
pub(super) fn user() -> Rule<impl Reads<UserId>, impl Describes> {
    value::parsed::<UserId>("the id of a user")
}

/// Text in lines.
fn prose(bytes_max: usize) -> Rule<impl Reads<String>, impl Describes> {
    let read = move |given: &Value| {
        let wrong = || {
            format!("must be text of 1 to {bytes_max} bytes, its control characters only line ends and tabs")
        };
        let text = given.as_str().filter(|text| text.len() <= bytes_max && !text.trim().is_empty());
        let plain = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t');
        text.filter(|text| text.chars().all(plain)).map(str::to_owned).ok_or_else(wrong)
    };
    value::rule(move || json!({ "type": "string", "minLength": 1, "maxLength": bytes_max }), read)
}

/// Tags, each once, in the order given.
fn tags() -> Rule<impl Reads<Vec<String>>, impl Describes> {
    let describe = || {
        json!({ "type": "array", "maxItems": TAGS_MAX,
                "items": { "type": "string", "minLength": 1, "maxLength": TAG_CHARS_MAX } })
    };
    value::rule(describe, |given| {
        let all: Vec<String> = value::list(TAGS_MAX, value::text(TAG_CHARS_MAX)).judge(given)?;
        let mut tags: Vec<String> = Vec::new();
        for tag in all {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(tags)
    })
}

fn object() -> Rule<impl Reads<Map<String, Value>>, impl Describes> {
    value::rule(
        || json!({ "type": "object", "additionalProperties": true }),
        |given| {
            let object = given.as_object().ok_or("must be an object")?;
            if given.to_string().len() > METADATA_BYTES_MAX {
                return Err(format!("must be at most {METADATA_BYTES_MAX} bytes of JSON"));
            }
            Ok(object.clone())
        },
    )
}

/// An address on the web. It is kept and shown, and never followed.
fn url() -> Rule<impl Reads<String>, impl Describes> {
    let describe = || json!({ "type": "string", "format": "uri", "maxLength": URL_CHARS_MAX });
    value::rule(describe, |given| {
        let wrong = || format!("must be an http or https URL of at most {URL_CHARS_MAX} characters");
        let text: String = value::text(URL_CHARS_MAX).judge(given).map_err(|_| wrong())?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let sound = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if sound && !text.contains(char::is_whitespace) { Ok(text) } else { Err(wrong()) }
    })
}

/// A technique of MITRE ATT&CK: T1566, or T1566.001 for a part of it.
fn technique() -> Rule<impl Reads<String>, impl Describes> {
    let describe = || json!({ "type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$" });
    value::rule(describe, |given| {
        let wrong = || "must be a technique such as T1566 or T1566.001".to_owned();
        let text = given.as_str().ok_or_else(wrong)?;
        let (technique, part) =
            text.split_once('.').map_or((text, None), |(technique, part)| (technique, Some(part)));
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        let sound = technique.strip_prefix('T').is_some_and(|number| digits(number, 4))
            && part.is_none_or(|part| digits(part, 3));
        if sound { Ok(text.to_owned()) } else { Err(wrong()) }
    })
}

/// A number from 0 to 1, kept in thousandths: nothing that is replicated counts in floating point.
fn confidence() -> Rule<impl Reads<i64>, impl Describes> {
    let describe = || json!({ "type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.001 });
    value::rule(describe, |given| {
        let wrong = || "must be a number from 0 to 1 with at most three digits behind the point".to_owned();
        let text = given.as_number().map(ToString::to_string).ok_or_else(wrong)?;
        let (whole, behind) = text.split_once('.').unwrap_or((&text, "0"));
        let behind = if behind.len() > 3 { behind.trim_end_matches('0') } else { behind };
        let digits =
            whole.len() == 1 && behind.len() <= 3 && behind.bytes().all(|byte| byte.is_ascii_digit());
        let milli =
            format!("{whole}{behind:0<3}").parse().ok().filter(|milli| digits && (0..=1000).contains(milli));
        milli.ok_or_else(wrong)
    })
}

/// What a list is narrowed to, and its window.
pub(super) fn read_list(kind: RecordKind, query: &mut QueryFields) -> (Narrowed, Window) {
    let mut narrowed = Narrowed { owner: query.parsed("owner", user()), ..Narrowed::default() };
    let mut field = |field: Field, value: Option<&'static str>| {
        narrowed.fields.extend(value.map(|value| (field, value.to_owned())));
    };
    if kind == RecordKind::Activity {
        let severity = query.parsed("severity", value::word::<Severity>(Severity::NAMES));
        field(Field::Severity, severity.map(Severity::name));
    } else {
        let status = query.parsed("status", value::word::<Status>(Status::NAMES));
        let priority = query.parsed("priority", value::word::<Priority>(Priority::NAMES));
        let classification =
            query.parsed("classification", value::word::<Classification>(Classification::NAMES));
        field(Field::Priority, priority.map(Priority::name));
        field(Field::Classification, classification.map(Classification::name));
        field(Field::Status, status.map(Status::name));
        narrowed.assignee = query.parsed("assigned_to", user());
        narrowed
            .terms
            .extend(query.parsed("tag", value::text(TAG_CHARS_MAX)).map(|tag: String| tag_term(&tag)));
    }
    narrowed.terms.extend(query.parsed("q", words()).unwrap_or_default());
    (narrowed, query.window())
}

/// Words that must all be there, in the title or the description.
fn words() -> Rule<impl Reads<Vec<String>>, impl Describes> {
    let describe = || json!({ "type": "string", "description": "whole words; all of them must be there" });
    value::rule(describe, |given| {
        let words: Vec<String> = words_of(given.as_str().unwrap_or_default()).collect();
        if words.is_empty() || words.len() > QUERY_WORDS_MAX {
            return Err(format!("must be 1 to {QUERY_WORDS_MAX} words of two letters or more"));
        }
        Ok(words)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_read_without_a_float() {
        let read = |text: &str| confidence().judge(&serde_json::from_str(text).unwrap());
        for (text, milli) in [("0", 0), ("1", 1000), ("1.0", 1000), ("0.85", 850), ("0.005", 5), ("0.5", 500)]
        {
            assert_eq!(read(text), Ok(milli), "{text}");
        }
        for text in ["1.001", "-0.1", "2", "0.0001", "1e-9", "\"0.5\"", "true"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_technique_has_four_digits_and_a_part_three() {
        let read = |text: &str| technique().judge(&json!(text)).is_ok();
        assert!(read("T1566") && read("T1566.001"));
        for text in ["", "T", "t1566", "T156", "T15666", "T1566.", "T1566.01", "T1566.001.1", "T１５６６"]
        {
            assert!(!read(text), "{text}");
        }
    }
}
