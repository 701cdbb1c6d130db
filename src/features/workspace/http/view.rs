//! How records and notes are shown.

use serde_json::{Map, Value, json};

use crate::features::workspace::model::{Note, Record, RecordKind};

/// Thousandths as a number.
fn thousandths(milli: i64) -> Value {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    serde_json::from_str(text.trim_end_matches('0').trim_end_matches('.')).unwrap_or_default()
}

pub(super) fn record(record: &Record) -> Value {
    let content = &record.content;
    let mut view = Map::new();
    let mut show = |name: &str, value: Value| view.insert(name.to_owned(), value);
    let title = if record.kind == RecordKind::Activity { "name" } else { "title" };
    show("id", json!(record.id));
    show(title, json!(content.title));
    show("description", json!(content.description));
    if record.kind == RecordKind::Activity {
        show("mitre_technique_id", json!(content.mitre_technique_id));
        show("mitre_tactic", json!(content.mitre_tactic));
        show("confidence", content.confidence_milli.map_or(Value::Null, thousandths));
        show("severity", json!(content.severity));
        show("signatures", json!(content.signatures.as_deref().unwrap_or_default()));
        show("context", json!(content.metadata.clone().unwrap_or_default()));
    } else {
        show("status", json!(content.status));
        show("priority", json!(content.priority));
        show("classification", json!(content.classification));
        show("tags", json!(content.tags.as_deref().unwrap_or_default()));
        show("assigned_to", json!(record.assignee));
        show("closed_at", json!(record.closed.map(|at| at.to_string())));
    }
    match record.kind {
        RecordKind::Investigation => {
            show("metadata", json!(content.metadata.clone().unwrap_or_default()));
            show("source_url", json!(content.source_url));
            show("source_type", json!(content.source_type));
        }
        RecordKind::Case => {
            show("investigations", json!(content.investigations.as_deref().unwrap_or_default()));
        }
        RecordKind::Activity => {}
    }
    show("owner", json!(record.owner));
    show("created_at", json!(record.created.to_string()));
    show("updated_at", json!(record.updated.to_string()));
    show("version", json!(record.version));
    Value::Object(view)
}

pub(super) fn note(note: &Note) -> Value {
    json!({
        "id": note.id,
        "investigation": note.investigation,
        "parent": note.parent,
        "author": note.author,
        "kind": note.kind,
        "private": note.private,
        "deleted": note.removed,
        "body": note.body,
        "created_at": note.created.to_string(),
        "updated_at": note.updated.to_string(),
        "version": note.version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_shown_as_the_number_they_are() {
        let shown: Vec<String> =
            [0, 1, 50, 900, 999, 1000].map(|milli| thousandths(milli).to_string()).to_vec();
        assert_eq!(shown, ["0", "0.001", "0.05", "0.9", "0.999", "1"]);
    }
}
