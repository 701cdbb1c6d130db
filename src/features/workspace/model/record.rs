//! A record: what it says, who it belongs to, and what rules see of it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Classification, Priority, RecordKind, Severity, SourceType, Status, words::words};
use crate::kernel::{Attributes, Field, FieldError, Level, Millis, RecordId, UserId};

/// Most tags of a record.
pub const TAGS_MAX: usize = 50;
/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 64;
/// Largest metadata or context, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 16 << 10;
/// Most people let into one investigation.
pub const COLLABORATORS_MAX: usize = 100;
/// Most investigations that a case is linked to.
pub const LINKS_MAX: usize = 100;
/// Most signatures of an activity.
pub const SIGNATURES_MAX: usize = 100;

/// What a record says; as a change, what it is to say from now on: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Its title; the name of an activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What to do first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whom it may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// How bad it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Whatever a client wants to keep with it; the context of an activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Where an investigation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// With what it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_type: Option<SourceType>,
    /// The investigations that a case is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub investigations: Option<Vec<RecordId>>,
    /// The technique of MITRE ATT&CK, such as T1566.001.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitre_technique_id: Option<String>,
    /// The tactic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitre_tactic: Option<String>,
    /// How sure one is, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_milli: Option<i64>,
    /// What it is recognised by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Vec<String>>,
}

words! {
    /// A field that a record can do without, and that a change takes away.
    Clearable {
        /// More about it.
        Description = "description",
        /// What to find it by.
        Tags = "tags",
        /// Whatever a client kept with it.
        Metadata = "metadata",
        /// Where it began.
        SourceUrl = "source_url",
        /// What it is about.
        Investigations = "investigations",
        /// The technique.
        Technique = "mitre_technique_id",
        /// The tactic.
        Tactic = "mitre_tactic",
        /// How sure one is.
        Confidence = "confidence",
        /// What it is recognised by.
        Signatures = "signatures",
    }
}

impl Content {
    /// Every list or object that is too large. The edge asks first; apply asks again.
    pub fn judge(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut most = |pointer: &str, found: usize, max: usize| {
            if found > max {
                errors.push(FieldError::new(pointer, format!("must be at most {max}, not {found}")));
            }
        };
        let tags = self.tags.as_deref().unwrap_or_default();
        most("/tags", tags.len(), TAGS_MAX);
        most("/tags", tags.iter().map(|tag| tag.chars().count()).max().unwrap_or(0), TAG_CHARS_MAX);
        most("/investigations", self.investigations.as_ref().map_or(0, Vec::len), LINKS_MAX);
        most("/signatures", self.signatures.as_ref().map_or(0, Vec::len), SIGNATURES_MAX);
        let metadata = self.metadata.as_ref().and_then(|metadata| serde_json::to_string(metadata).ok());
        most("/metadata", metadata.map_or(0, |text| text.len()), METADATA_BYTES_MAX);
        errors
    }

    /// Takes a field away; whether it was there.
    fn clear(&mut self, field: Clearable) -> bool {
        match field {
            Clearable::Description => self.description.take().is_some(),
            Clearable::Tags => self.tags.take().is_some(),
            Clearable::Metadata => self.metadata.take().is_some(),
            Clearable::SourceUrl => self.source_url.take().is_some(),
            Clearable::Investigations => self.investigations.take().is_some(),
            Clearable::Technique => self.mitre_technique_id.take().is_some(),
            Clearable::Tactic => self.mitre_tactic.take().is_some(),
            Clearable::Confidence => self.confidence_milli.take().is_some(),
            Clearable::Signatures => self.signatures.take().is_some(),
        }
    }

    /// With what `change` says; and the names of the fields that differ then.
    pub fn changed(&self, change: Self) -> (Self, Vec<&'static str>) {
        let (mut after, mut names) = (self.clone(), Vec::new());
        let Self { title, description, status, priority, classification, severity, tags, .. } = &mut after;
        set(title, change.title, "title", &mut names);
        set(description, change.description, "description", &mut names);
        set(status, change.status, "status", &mut names);
        set(priority, change.priority, "priority", &mut names);
        set(classification, change.classification, "classification", &mut names);
        set(severity, change.severity, "severity", &mut names);
        set(tags, change.tags, "tags", &mut names);
        set(&mut after.metadata, change.metadata, "metadata", &mut names);
        set(&mut after.source_url, change.source_url, "source_url", &mut names);
        set(&mut after.source_type, change.source_type, "source_type", &mut names);
        set(&mut after.investigations, change.investigations, "investigations", &mut names);
        set(&mut after.mitre_technique_id, change.mitre_technique_id, "mitre_technique_id", &mut names);
        set(&mut after.mitre_tactic, change.mitre_tactic, "mitre_tactic", &mut names);
        set(&mut after.confidence_milli, change.confidence_milli, "confidence", &mut names);
        set(&mut after.signatures, change.signatures, "signatures", &mut names);
        (after, names)
    }

    /// The values that rules look at.
    pub fn fields(&self) -> [(Field, Option<&'static str>); 5] {
        [
            (Field::Classification, self.classification.map(Classification::name)),
            (Field::Severity, self.severity.map(Severity::name)),
            (Field::Status, self.status.map(Status::name)),
            (Field::Priority, self.priority.map(Priority::name)),
            (Field::Source, self.source_type.map(SourceType::name)),
        ]
    }
}

fn set<T: PartialEq>(
    place: &mut Option<T>,
    given: Option<T>,
    name: &'static str,
    names: &mut Vec<&'static str>,
) {
    if given.is_some() && *place != given {
        *place = given;
        names.push(name);
    }
}

/// A record as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its kind.
    pub kind: RecordKind,
    /// Its id.
    pub id: RecordId,
    /// Who created it.
    pub owner: UserId,
    /// Who is to work on it.
    pub assignee: Option<UserId>,
    /// Who was let into it, and how far.
    pub collaborators: Vec<(UserId, Level)>,
    /// What it says.
    pub content: Content,
    /// When it was closed, if it is.
    pub closed: Option<Millis>,
    /// When it came to be.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
    /// Counts its changes.
    pub version: i64,
}

impl Record {
    /// What rules see of it. What is not here, it does not have.
    pub fn attributes(&self) -> Attributes {
        let known = Attributes {
            assignee: self.assignee,
            collaborators: self.collaborators.clone(),
            ..Attributes::whole().named(self.id.to_string()).owned_by(self.owner)
        };
        let fields = self.content.fields().into_iter();
        fields
            .filter_map(|(field, value)| Some((field, value?)))
            .fold(known, |known, (field, value)| known.field(field, value))
    }

    /// Whether it is still worked on, and counts against the quota.
    pub fn is_active(&self) -> bool {
        self.content.status != Some(Status::Closed)
    }

    /// As it is with other content, from `at` on, and without what is taken away; and the names of the fields that differ
    /// then.
    pub fn changed(&self, change: Content, clears: &[Clearable], at: Millis) -> (Self, Vec<&'static str>) {
        let (mut content, mut names) = self.content.changed(change);
        names.extend(clears.iter().filter(|field| content.clear(**field)).map(|field| field.name()));
        let mut after = Self { content, updated: at, version: self.version + 1, ..self.clone() };
        after.closed = if after.is_active() { None } else { self.closed.or(Some(at)) };
        (after, names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_large_is_named() {
        let metadata = |bytes: usize| json!({ "k": "x".repeat(bytes) }).as_object().cloned();
        let largest = Content {
            tags: Some(vec!["é".repeat(TAG_CHARS_MAX); TAGS_MAX]),
            metadata: metadata(METADATA_BYTES_MAX - r#"{"k":""}"#.len()),
            ..Content::default()
        };
        assert_eq!(largest.judge(), []);
        let tag = Content { tags: Some(vec!["x".repeat(TAG_CHARS_MAX + 1)]), ..Content::default() };
        let tags = Content { tags: Some(vec![String::new(); TAGS_MAX + 1]), ..Content::default() };
        let large = Content { metadata: metadata(METADATA_BYTES_MAX), ..Content::default() };
        let signatures =
            Content { signatures: Some(vec![String::new(); SIGNATURES_MAX + 1]), ..Content::default() };
        for (content, pointer) in
            [(tag, "/tags"), (tags, "/tags"), (large, "/metadata"), (signatures, "/signatures")]
        {
            let errors = content.judge();
            assert_eq!(errors.first().map(|error| error.pointer.as_str()), Some(pointer));
        }
    }
}
