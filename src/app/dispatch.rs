//! Applies one entry to one file: the heart of the house.
//!
//! Begin the file's transaction, skip what was applied, answer what is remembered, ask whether the actor
//! may, apply, keep or take back, append the audit event, remember the reply, move the watermark.

use serde_json::value::RawValue;

use super::commands;
use crate::{
    cluster::{Apply, Envelope, Note, Outcome, Remembered, Sent, Trail, recall, remember, store_sent},
    features::audit::{self, Attempt},
    kernel::{Fault, Millis, OrgId, OutboxId, Refusal, from_hex},
    store::{Held, SealedEntry, Stop, Store, Writer, Writers},
};

/// What became of an entry.
#[derive(Default)]
pub struct Dispatched {
    /// The outcome's bytes, for whoever proposed it; none when this node must not say.
    pub reply: Vec<u8>,
    /// The file whose outbox it filled.
    pub sent_from: Option<OrgId>,
    /// The file is to go.
    destroyed: bool,
}

/// Applies the entry at `index` with the leader's stamp `at`. Leaves the file's transaction open.
pub fn dispatch(
    store: &Store,
    writers: &mut Writers,
    index: u64,
    at: Millis,
    body: &[u8],
) -> Result<Dispatched, Fault> {
    let unread =
        || Fault::found(format!("entry {index} is of a form that this binary does not know; upgrade it"));
    let sealed = SealedEntry::parse(body).ok_or_else(unread)?;
    let file = sealed.file;
    if store.holds_back(file, || Held { index, at, body: body.to_vec() }) {
        return Ok(Dispatched::default());
    }
    match dispatch_to(store, writers, &sealed, index, at) {
        Err(fault) if store.skips_from_here(file, &fault)? => {
            writers.close(file);
            Ok(Dispatched::default())
        }
        // What a file in quarantine says may be wrong: the proposer asks again, and another node answers.
        Ok(dispatched) if store.is_quarantined(file) => Ok(Dispatched { reply: Vec::new(), ..dispatched }),
        done => done,
    }
}

fn dispatch_to(
    store: &Store,
    writers: &mut Writers,
    sealed: &SealedEntry<'_>,
    index: u64,
    at: Millis,
) -> Result<Dispatched, Fault> {
    let file = sealed.file;
    let Some(writer) = writers.begin(store, file, sealed.brings.as_ref().map(|key| (index, key)))? else {
        return answered(Outcome::refused(Refusal::NotFound)).map_err(|stop| halted(index, "sealed", stop));
    };
    if index <= writer.state().mark {
        // Applied before a crash; whoever waited for it is gone.
        return Ok(Dispatched::default());
    }
    let envelope = read(store, sealed).map_err(|fault| Fault::new(format!("open entry {index}"), fault))?;
    writer.raise(file, envelope.level)?;
    let at = at.max(writer.state().at);
    let dispatched =
        apply(writer, &envelope, index, at).map_err(|stop| halted(index, &envelope.kind, stop))?;
    if dispatched.destroyed {
        writers.destroy(store, file)?;
    } else {
        writer.advance(index, at);
    }
    Ok(dispatched)
}

fn read(store: &Store, sealed: &SealedEntry<'_>) -> Result<Envelope, Fault> {
    let plain = store.open_entry(sealed)?;
    let envelope: Envelope =
        serde_json::from_slice(&plain).map_err(|error| Fault::new("decode its envelope", error))?;
    if envelope.organization != sealed.file {
        return Err(Fault::found("its envelope is for another file"));
    }
    Ok(envelope)
}

fn halted(index: u64, kind: &str, stop: Stop) -> Fault {
    match stop {
        Stop::Broken(fault) => Fault::new(format!("apply entry {index} ({kind})"), fault),
        Stop::Refused(refusal) => {
            Fault::found(format!("entry {index} ({kind}): {} outside apply", refusal.code()))
        }
    }
}

fn apply(writer: &Writer, envelope: &Envelope, index: u64, at: Millis) -> Result<Dispatched, Stop> {
    let tx = writer.connection();
    match recall(tx, envelope.request, &envelope.fingerprint)? {
        Some(Remembered::Answered(outcome)) => return answered(outcome),
        Some(Remembered::Elsewhere) => return answered(Outcome::refused(Refusal::IdempotencyKeyReused)),
        None => {}
    }
    let command = commands::find(&envelope.kind, envelope.version).ok_or_else(|| {
        let (kind, version) = (&envelope.kind, envelope.version);
        Fault::found(format!(
            "entry {index} holds {kind} v{version}, which this binary does not know; upgrade it"
        ))
    })?;
    let salt = from_hex(&envelope.salt).unwrap_or_default();
    let attempt = Attempt {
        action: command.kind.name,
        at,
        entry: index,
        organization: envelope.organization,
        actor: &envelope.actor,
        request: envelope.request,
        origin: &envelope.origin,
        salt: &salt,
    };
    let mut cx = Apply::new(tx, at, envelope.organization, &envelope.actor, envelope.request);
    writer.savepoint()?;
    let verdict = (command.run)(&mut cx, envelope.body.get());
    let destroyed = verdict.is_ok() && cx.is_destroyed();
    let (notes, sent) = cx.finish();
    let outcome = settle(writer, &attempt, command.trail, verdict, notes, &sent)?;
    let done = answered(outcome)?;
    remember(tx, at, envelope.request, &envelope.fingerprint, &done.reply)?;
    let sent_from = (!sent.is_empty()).then_some(envelope.organization);
    Ok(Dispatched { sent_from, destroyed, ..done })
}

/// Keeps what was written, or takes it back; either way the attempt is on the trail.
fn settle(
    writer: &Writer,
    attempt: &Attempt<'_>,
    trail: Trail,
    verdict: Result<Box<RawValue>, Stop>,
    notes: Vec<Note>,
    sent: &[(OutboxId, Sent)],
) -> Result<Outcome, Stop> {
    let tx = writer.connection();
    let (outcome, kept) = match verdict {
        Ok(reply) => {
            writer.release()?;
            store_sent(tx, attempt.at, sent)?;
            (Outcome::ok(reply), Ok(notes))
        }
        Err(Stop::Refused(refusal)) => {
            writer.rollback()?;
            (Outcome::refused(refusal.clone()), Err(refusal))
        }
        Err(Stop::Broken(fault)) => return Err(Stop::Broken(fault)),
    };
    match (trail, kept) {
        (Trail::Event, Ok(notes)) => audit::append(tx, attempt, Ok(notes))?,
        (Trail::Event, Err(refusal)) => audit::append(tx, attempt, Err(&refusal))?,
        // Silent itself, but it may cause an event: a threshold crossed by a measurement.
        (Trail::Silent, Ok(notes)) if !notes.is_empty() => audit::append(tx, attempt, Ok(notes))?,
        (Trail::Silent, _) => {}
    }
    Ok(outcome)
}

fn answered(outcome: Outcome) -> Result<Dispatched, Stop> {
    Ok(Dispatched { reply: serde_json::to_vec(&outcome)?, sent_from: None, destroyed: false })
}
