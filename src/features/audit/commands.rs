//! Appending events, which the dispatcher does and never a slice; and erasing what they say about a person.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use uuid::Builder;

use super::{
    canonical,
    model::{CHAIN_START, LEAF_BYTES_MAX, Leaf, LeafActor, LeafResource, chain_after, commitment, salt_of},
    queries,
};
use crate::{
    cluster::{Apply, Note},
    kernel::{Actor, Fault, Millis, OrgId, Origin, Refusal, RequestId, UserId, to_hex},
    store::{Stop, take_rows},
};

/// One entry's attempt at something: what the dispatcher knows about it.
pub struct Attempt<'a> {
    /// The command's kind.
    pub action: &'a str,
    /// The leader's stamp.
    pub at: Millis,
    /// Index of the entry.
    pub entry: u64,
    /// The organization whose file this is.
    pub organization: OrgId,
    /// Who asked.
    pub actor: &'a Actor,
    /// Under which request id.
    pub request: RequestId,
    /// From where.
    pub origin: &'a Origin,
    /// The entry's random bytes.
    pub salt: &'a [u8],
}

/// Appends the events of one entry: its notes when it was kept, the refusal when it was not.
pub fn append(
    tx: &Connection,
    attempt: &Attempt<'_>,
    verdict: Result<Vec<Note>, &Refusal>,
) -> Result<(), Stop> {
    let (notes, refusal) = match verdict {
        Ok(notes) if notes.is_empty() => (vec![Note::default()], None),
        Ok(notes) => (notes, None),
        Err(refusal) => (vec![Note::default()], Some(refusal)),
    };
    let (mut seq, mut chain) = head(tx)?;
    for (ordinal, note) in notes.into_iter().enumerate() {
        seq += 1;
        chain = append_one(tx, attempt, note, refusal, ordinal, seq, chain)?;
    }
    Ok(())
}

fn append_one(
    tx: &Connection,
    attempt: &Attempt<'_>,
    note: Note,
    refusal: Option<&Refusal>,
    ordinal: usize,
    seq: i64,
    chain: [u8; 32],
) -> Result<[u8; 32], Stop> {
    // Objects keep the order in which they were made; sorted ones are canonical as they are.
    let (mut changes, mut personal) = (note.changes, personal_fields(attempt.origin, note.personal));
    changes.sort_all_objects();
    personal.iter_mut().for_each(Value::sort_all_objects);
    let salt = salt_of(attempt.salt, ordinal);
    let sealed = personal.as_ref().map(canonical::of_value).transpose()?;
    let leaf = Leaf {
        v: 1,
        seq,
        id: event_id(attempt, seq),
        at: attempt.at.to_string(),
        organization: attempt.organization.to_string(),
        actor: leaf_actor(attempt),
        action: note.action.unwrap_or(attempt.action).to_owned(),
        resource: LeafResource { kind: resource_type(attempt, note.resource_type), id: note.resource_id },
        outcome: if refusal.is_some() { "refused" } else { "success" }.to_owned(),
        reason: refusal.map(reason).transpose()?,
        request: attempt.request.to_string(),
        entry: attempt.entry,
        changes: if changes.is_null() { json!({}) } else { changes },
        personal: sealed.as_deref().map(|fields| to_hex(&commitment(&salt, fields))),
    };
    let bytes = bytes_of(&leaf)?;
    let chain = chain_after(&chain, &bytes);
    tx.prepare_cached(INSERT_EVENT)?.execute(rusqlite::params![
        seq,
        leaf.id,
        attempt.at.0,
        leaf.actor.id,
        leaf.action,
        leaf.resource.kind,
        leaf.resource.id,
        leaf.outcome,
        bytes,
        chain.as_slice(),
    ])?;
    if let Some(fields) = sealed {
        tx.prepare_cached(INSERT_PERSONAL)?.execute((seq, salt, fields))?;
    }
    Ok(chain)
}

/// The leaf's bytes; changes too large for a tile entry are replaced by their size.
fn bytes_of(leaf: &Leaf) -> Result<Vec<u8>, Stop> {
    let bytes = canonical::of_leaf(leaf)?;
    if bytes.len() <= LEAF_BYTES_MAX {
        return Ok(bytes);
    }
    let changes = json!({ "omitted_bytes": bytes.len() });
    Ok(canonical::of_leaf(&Leaf { changes, ..leaf.clone() })?)
}

fn head(tx: &Connection) -> Result<(i64, [u8; 32]), Fault> {
    Ok(last_event(tx)?.unwrap_or((0, CHAIN_START)))
}

/// UUIDv7 from the entry's stamp and random bytes: the same on every node.
fn event_id(attempt: &Attempt<'_>, seq: i64) -> String {
    let hash = commitment(attempt.salt, &seq.to_be_bytes());
    let mut random = [0; 10];
    random.iter_mut().zip(&hash).for_each(|(to, from)| *to = *from);
    Builder::from_unix_timestamp_millis(u64::try_from(attempt.at.0).unwrap_or(0), &random)
        .into_uuid()
        .to_string()
}

fn leaf_actor(attempt: &Attempt<'_>) -> LeafActor {
    let organization = match attempt.actor {
        Actor::User { organization, .. } if *organization != attempt.organization => {
            Some(organization.to_string())
        }
        _ => None,
    };
    LeafActor {
        kind: attempt.actor.kind().to_owned(),
        id: attempt.actor.user().map(|user| user.to_string()),
        organization,
    }
}

/// A command that was refused before it could say what it is about is about its slice.
fn resource_type(attempt: &Attempt<'_>, noted: &str) -> String {
    if noted.is_empty() {
        attempt.action.split('.').next().unwrap_or_default().to_owned()
    } else {
        noted.to_owned()
    }
}

/// The refusal without what a person typed: bad fields are named, not quoted.
fn reason(refusal: &Refusal) -> serde_json::Result<Value> {
    match refusal {
        Refusal::Invalid { errors } => {
            let fields: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
            Ok(json!({ "code": refusal.code(), "fields": fields }))
        }
        other => serde_json::to_value(other),
    }
}

fn personal_fields(origin: &Origin, noted: Value) -> Option<Value> {
    let mut fields = serde_json::Map::new();
    if let Some(address) = &origin.ip_address {
        fields.insert("ip_address".to_owned(), json!(address));
    }
    if let Some(agent) = &origin.user_agent {
        fields.insert("user_agent".to_owned(), json!(agent));
    }
    if let Value::Object(noted) = noted {
        fields.extend(noted);
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// Erases the personal fields of events behind `from` up to `to` that a person caused, that are about the person, or
/// that hold the person's address. The leaves stay, and the chain with them.
pub fn erase_personal(
    cx: &Apply<'_>,
    person: UserId,
    email: &str,
    (from, to): (i64, i64),
) -> Result<usize, Stop> {
    Ok(cx.tx.prepare_cached(ERASE_PERSONAL)?.execute((from, to, person.to_string(), email))?)
}

/// Whether the trail of a file begins as that of another one: with the same events, up to its last.
pub fn continues(longer: &Connection, shorter: &Connection) -> Result<bool, Fault> {
    let Some((seq, chain)) = last_event(shorter)? else { return Ok(true) };
    Ok(queries::chain_at(longer, seq)? == Some(chain))
}

/// Gives a file that was made from a backup the trail of the one whose place it takes: that one goes on. `erased` says whether
/// personal fields of events that both have may be gone from it.
pub fn keep_trail(restored: &Connection, present: &Connection, erased: bool) -> Result<(), Fault> {
    if !continues(present, restored)? {
        return Err(Fault::found(
            "the restored file has a trail that is not the beginning of the present one",
        ));
    }
    let seq = last_seq(restored)?;
    take_rows(present, restored, "audit_events", Some(("seq", seq)))?;
    // Erased since, it stays erased: rows of personal fields go, and never come.
    let count = |tx: &Connection| tx.query_row(COUNT_PERSONAL, [seq], |row| row.get::<_, i64>(0));
    if erased && count(present)? != count(restored)? {
        let kept = present
            .prepare(PERSONAL_UPTO)?
            .query_map([seq], |row| row.get(0))?
            .collect::<Result<BTreeSet<i64>, _>>()?;
        let known = restored
            .prepare(PERSONAL_UPTO)?
            .query_map([seq], |row| row.get(0))?
            .collect::<Result<BTreeSet<i64>, _>>()?;
        for gone in known.difference(&kept) {
            restored.prepare_cached(DELETE_PERSONAL)?.execute([gone])?;
        }
    }
    take_rows(present, restored, "audit_personal", Some(("seq", seq)))
}

/// Takes the trail out of a file that is made for another organization, or for another history of the same.
pub fn drop_trail(restored: &Connection) -> Result<(), Fault> {
    Ok(restored.execute_batch(DELETE_TRAIL)?)
}

/// Whether nothing was done in an organization but to make it and to change what is said of it.
pub fn is_untouched(tx: &Connection) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(UNTOUCHED)?.query_row([], |row| row.get(0))?)
}

/// To what an action was done, in events behind `seq`.
pub fn done_to(tx: &Connection, action: &str, seq: i64) -> Result<Vec<String>, Fault> {
    let mut statement = tx.prepare_cached(DONE_TO)?;
    let found = statement.query_map((seq, action), |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Number of the last event; 0 when there is none.
pub fn last_seq(tx: &Connection) -> Result<i64, Fault> {
    Ok(last_event(tx)?.map_or(0, |(seq, _)| seq))
}

/// Number of the last event, and the chain after it.
fn last_event(tx: &Connection) -> Result<Option<(i64, [u8; 32])>, Fault> {
    Ok(tx.prepare_cached(SELECT_HEAD)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

const ERASE_PERSONAL: &str = "DELETE FROM audit_personal WHERE seq > ?1 AND seq <= ?2
    AND (json_extract(CAST(personal AS TEXT), '$.email') = ?4 OR seq IN (
        SELECT seq FROM audit_events WHERE seq > ?1 AND seq <= ?2
        AND (actor_id = ?3 OR resource_type = 'user' AND resource_id = ?3)))";
const SELECT_HEAD: &str = "SELECT seq, chain FROM audit_events ORDER BY seq DESC LIMIT 1";
const INSERT_EVENT: &str = "INSERT INTO audit_events
    (seq, id, at_ms, actor_id, action, resource_type, resource_id, outcome, leaf, chain)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const INSERT_PERSONAL: &str = "INSERT INTO audit_personal (seq, salt, personal) VALUES (?1, ?2, ?3)";
const COUNT_PERSONAL: &str = "SELECT count(*) FROM audit_personal WHERE seq <= ?1";
const PERSONAL_UPTO: &str = "SELECT seq FROM audit_personal WHERE seq <= ?1";
const DELETE_PERSONAL: &str = "DELETE FROM audit_personal WHERE seq = ?1";
const DELETE_TRAIL: &str = "DELETE FROM audit_personal; DELETE FROM audit_events;";
const UNTOUCHED: &str = "SELECT NOT EXISTS (SELECT 1 FROM audit_events
    WHERE outcome = 'success' AND action NOT LIKE 'organizations.%')";
const DONE_TO: &str = "SELECT resource_id FROM audit_events
    WHERE seq > ?1 AND action = ?2 AND outcome = 'success' AND resource_id IS NOT NULL";
