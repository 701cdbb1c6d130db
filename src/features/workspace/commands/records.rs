//! What is done with a record of any kind: the actor is asked for twice where it changes, with what the record was and with
//! what it becomes.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Saved, hidden, require_version};
use crate::{
    cluster::Apply,
    features::{
        access, quotas,
        workspace::{
            model::{Clearable, Content, Record, RecordKind, terms_of},
            queries,
        },
    },
    kernel::{Field, Permission, RecordId, Refusal, UserId},
    store::Stop,
};

/// A record that is to be.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewRecord {
    /// Its id, minted at the edge.
    pub id: RecordId,
    /// What it says.
    pub content: Content,
    /// Who is to work on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<UserId>,
}

/// What a record is to say from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub id: RecordId,
    /// What changes.
    pub content: Content,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// What is taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clears: Vec<Clearable>,
}

/// Who is to work on a record from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Which.
    pub id: RecordId,
    /// Who; nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<UserId>,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

/// A record that is to go.
#[derive(Debug, Serialize, Deserialize)]
pub struct Removal {
    /// Which.
    pub id: RecordId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

/// The record, if the actor may see it.
pub(super) fn find(cx: &Apply<'_>, kind: RecordKind, id: RecordId) -> Result<Record, Stop> {
    let record = queries::record(cx.tx, kind, id)?.ok_or(Refusal::NotFound)?;
    hidden(access::require_for(cx, kind.read(), &record.attributes()))?;
    Ok(record)
}

/// Allows what takes `permission` for the record as it was and as it becomes.
pub(super) fn require_both(
    cx: &Apply<'_>,
    permission: Permission,
    before: &Record,
    after: &Record,
) -> Result<(), Stop> {
    access::require_for(cx, permission, &before.attributes())?;
    access::require_for(cx, permission, &after.attributes())
}

pub(super) fn create(cx: &mut Apply<'_>, kind: RecordKind, new: NewRecord) -> Result<Saved<RecordId>, Stop> {
    let owner = cx.actor.user().ok_or(Refusal::NotFound)?;
    if queries::record(cx.tx, kind, new.id)?.is_some() {
        return Err(Refusal::WrongState { state: "there already".to_owned() }.into());
    }

    require_feature(cx, kind)?;
    require_limits(&new.content)?;
    let record = Record {
        kind,
        id: new.id,
        owner,
        assignee: new.assignee,
        collaborators: Vec::new(),
        content: new.content,
        closed: None,
        created: cx.at,
        updated: cx.at,
        version: 1,
    };
    access::require_for(cx, kind.create(), &record.attributes())?;
    if let Some(assignee) = new.assignee {
        require_user(cx, assignee, "/assigned_to")?;
        access::require_for(cx, kind.assign(), &record.attributes())?;
    }
    require_links(cx, &Content::default(), &record.content)?;
    count(cx, kind, i64::from(record.is_active()))?;

    write(cx, &record)?;
    write_terms(cx, None, Some(&record))?;

    cx.note(kind.name(), record.id, json!({ "after": view(&record) }));
    Ok(Saved { id: record.id, version: record.version })
}

pub(super) fn update(cx: &mut Apply<'_>, kind: RecordKind, change: Change) -> Result<Saved<RecordId>, Stop> {
    let before = find(cx, kind, change.id)?;
    require_version(change.if_version, before.version)?;

    require_feature(cx, kind)?;
    require_limits(&change.content)?;
    let (after, names) = before.changed(change.content, &change.clears, cx.at);
    require_both(cx, kind.update(), &before, &after)?;
    require_links(cx, &before.content, &after.content)?;
    count(cx, kind, i64::from(after.is_active()) - i64::from(before.is_active()))?;

    write(cx, &after)?;
    write_terms(cx, Some(&before), Some(&after))?;

    note_change(cx, &before, &after, &names);
    Ok(Saved { id: after.id, version: after.version })
}

pub(super) fn assign(cx: &mut Apply<'_>, kind: RecordKind, to: Assignment) -> Result<Saved<RecordId>, Stop> {
    let before = find(cx, kind, to.id)?;
    require_version(to.if_version, before.version)?;

    require_feature(cx, kind)?;
    let (after, _) = before.changed(Content::default(), &[], cx.at);
    let after = Record { assignee: to.assignee, ..after };
    require_both(cx, kind.assign(), &before, &after)?;
    if let Some(assignee) = to.assignee {
        require_user(cx, assignee, "/assigned_to")?;
    }

    write(cx, &after)?;

    note_change(cx, &before, &after, &["assigned_to"]);
    Ok(Saved { id: after.id, version: after.version })
}

/// Removes a record and all that hangs on it: at most 500 notes, 100 collaborators and 150 terms.
pub(super) fn delete(cx: &mut Apply<'_>, kind: RecordKind, removal: Removal) -> Result<(), Stop> {
    let before = find(cx, kind, removal.id)?;
    require_version(removal.if_version, before.version)?;

    access::require_for(cx, kind.delete(), &before.attributes())?;
    count(cx, kind, -i64::from(before.is_active()))?;

    let id = before.id.to_string();
    write_terms(cx, Some(&before), None)?;
    let notes = if kind.is_shared() {
        cx.tx.prepare_cached(DELETE_COLLABORATORS)?.execute([&id])?;
        cx.tx.prepare_cached(DELETE_NOTES)?.execute([&id])?
    } else {
        0
    };
    cx.tx.prepare_cached(DELETE)?.execute((kind.name(), &id))?;

    cx.note(kind.name(), before.id, json!({ "before": view(&before), "notes": notes }));
    Ok(())
}

/// Writes a record that others are let into, with its new version.
pub(super) fn touch(cx: &Apply<'_>, before: &Record) -> Result<i64, Stop> {
    let (after, _) = before.changed(Content::default(), &[], cx.at);
    write(cx, &after)?;
    Ok(after.version)
}

fn require_feature(cx: &Apply<'_>, kind: RecordKind) -> Result<(), Stop> {
    let Some(feature) = kind.feature() else { return Ok(()) };
    let plan = quotas::plan(cx.tx)?;
    if plan.includes(feature) {
        return Ok(());
    }
    let (feature, plan) = (feature.name.to_owned(), plan.name().to_owned());
    Err(Refusal::FeatureNotInPlan { feature, plan }.into())
}

fn require_limits(content: &Content) -> Result<(), Stop> {
    let errors = content.judge();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Invalid { errors }.into()) }
}

pub(super) fn require_user(cx: &Apply<'_>, user: UserId, pointer: &str) -> Result<(), Stop> {
    if queries::user_exists(cx.tx, user)? {
        return Ok(());
    }
    Err(Refusal::field(pointer, "is no user of this organization").into())
}

/// A case is linked to investigations that the actor may see.
fn require_links(cx: &Apply<'_>, before: &Content, after: &Content) -> Result<(), Stop> {
    let known = before.investigations.as_deref().unwrap_or_default();
    let wanted = after.investigations.as_deref().unwrap_or_default();
    for (place, id) in wanted.iter().enumerate().filter(|(_, id)| !known.contains(id)) {
        match find(cx, RecordKind::Investigation, *id) {
            Err(Stop::Refused(_)) => {
                let pointer = format!("/investigations/{place}");
                return Err(Refusal::field(pointer, "is no investigation that you can see").into());
            }
            found => found?,
        };
    }
    Ok(())
}

/// Takes or gives back what active records count against.
fn count(cx: &mut Apply<'_>, kind: RecordKind, more: i64) -> Result<(), Stop> {
    match (kind.quota(), more) {
        (Some(quota), 1..) => drop(quotas::take(cx, quota, more)?),
        (Some(quota), ..=-1) => drop(quotas::give_back(cx, quota, -more)?),
        _ => {}
    }
    Ok(())
}

fn write(cx: &Apply<'_>, record: &Record) -> Result<(), Stop> {
    let fields = record.content.fields();
    let field =
        |wanted: Field| fields.iter().find(|(field, _)| *field == wanted).and_then(|(_, value)| *value);
    cx.tx.prepare_cached(UPSERT)?.execute(params![
        record.kind.name(),
        record.id.to_string(),
        record.owner.to_string(),
        record.assignee.map(|user| user.to_string()),
        field(Field::Status),
        field(Field::Priority),
        field(Field::Classification),
        field(Field::Severity),
        field(Field::Source),
        record.closed.map(|at| at.0),
        record.created.0,
        record.updated.0,
        record.version,
        serde_json::to_string(&record.content)?,
    ])?;
    Ok(())
}

fn write_terms(cx: &Apply<'_>, before: Option<&Record>, after: Option<&Record>) -> Result<(), Stop> {
    let terms = |record: Option<&Record>| record.map(|one| terms_of(&one.content)).unwrap_or_default();
    let Some(record) = after.or(before) else { return Ok(()) };
    let (kind, id) = (record.kind.name(), record.id.to_string());
    let (before, after) = (terms(before), terms(after));
    for term in before.difference(&after) {
        cx.tx.prepare_cached(DELETE_TERM)?.execute((kind, term, &id))?;
    }
    for term in after.difference(&before) {
        cx.tx.prepare_cached(INSERT_TERM)?.execute((kind, term, &id))?;
    }
    Ok(())
}

/// What the trail says of a record: what rules look at, and nothing of its content.
fn view(record: &Record) -> Value {
    let fields = record.content.fields().into_iter();
    let known = fields.filter_map(|(field, value)| Some((field.name().to_owned(), json!(value?))));
    let people = [("owner", Some(record.owner)), ("assigned_to", record.assignee)];
    let people = people.into_iter().filter_map(|(name, user)| Some((name.to_owned(), json!(user?))));
    Value::Object(known.chain(people).collect::<Map<_, _>>())
}

fn note_change(cx: &mut Apply<'_>, before: &Record, after: &Record, names: &[&'static str]) {
    let (kind, id) = (after.kind.name(), after.id);
    let (mut old, mut new) = (view(before), view(after));
    // What stays the same is not part of a change.
    if let (Some(old), Some(new)) = (old.as_object_mut(), new.as_object_mut()) {
        let same: Vec<String> = old
            .iter()
            .filter(|(name, value)| new.get(*name) == Some(value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in same {
            old.remove(&name);
            new.remove(&name);
        }
    }
    cx.note(kind, id, json!({ "fields": names, "before": old, "after": new }));
}

const UPSERT: &str =
    "INSERT INTO workspace_records (kind, id, owner, assignee, status, priority, classification, severity,
    source, closed_ms, created_ms, updated_ms, version, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (kind, id) DO UPDATE SET assignee = excluded.assignee, status = excluded.status,
    priority = excluded.priority, classification = excluded.classification, severity = excluded.severity,
    source = excluded.source, closed_ms = excluded.closed_ms, updated_ms = excluded.updated_ms,
    version = excluded.version, body = excluded.body";
const DELETE: &str = "DELETE FROM workspace_records WHERE kind = ?1 AND id = ?2";
const DELETE_COLLABORATORS: &str = "DELETE FROM workspace_collaborators WHERE investigation = ?1";
const DELETE_NOTES: &str = "DELETE FROM workspace_notes WHERE investigation = ?1";
const DELETE_TERM: &str = "DELETE FROM workspace_terms WHERE kind = ?1 AND term = ?2 AND id = ?3";
const INSERT_TERM: &str = "INSERT INTO workspace_terms (kind, term, id) VALUES (?1, ?2, ?3)";
