//! Applies one entry to one file: the heart of the house.
//!
//! Begin the file's transaction, skip what was applied, answer what is remembered, ask whether the actor
//! may, apply, keep or take back, append the audit event, remember the reply, move the watermark.

use serde_json::value::RawValue;

use super::{commands, takeover};
use crate::{
    cluster::{
        Apply, Command, Envelope, ForgetSent, Left, Outcome, Remembered, Trail, WITHHELD, pending_since,
        recall, remember, store_sent,
    },
    features::audit::{self, Attempt},
    kernel::{Fault, Millis, OrgId, Refusal, from_hex},
    store::{
        Held, LEVEL, Replacement, SealedEntry, Stop, Store, VERSION, WrappedKey, Writer, Writers,
        unknown_level,
    },
};

/// What became of an entry.
#[derive(Default)]
pub struct Dispatched {
    /// The outcome's bytes, for whoever proposed it; [`WITHHELD`] when this node must not say, none when it was
    /// applied before.
    pub reply: Vec<u8>,
    /// The file whose outbox it filled.
    pub sent_from: Option<OrgId>,
    /// The file is to go.
    destroyed: bool,
    /// A data key that the file is to have from now on, and its number.
    next_key: Option<(u32, WrappedKey)>,
    /// Who may do what has changed.
    touches_access: bool,
    /// What takes the place of the file.
    replacement: Option<Replacement>,
}

impl Dispatched {
    fn with(reply: Vec<u8>) -> Self {
        Self { reply, ..Self::default() }
    }

    fn withheld() -> Self {
        Self::with(WITHHELD.to_vec())
    }
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
        return Ok(Dispatched::withheld());
    }
    match dispatch_to(store, writers, &sealed, index, at) {
        Err(fault) if store.skips_from_here(file, &fault)? => {
            writers.close(file);
            Ok(Dispatched::withheld())
        }
        // What a file in quarantine says may be wrong: the proposer asks again, and another node answers.
        Ok(dispatched) if !dispatched.reply.is_empty() && store.is_quarantined(file) => {
            Ok(Dispatched { reply: WITHHELD.to_vec(), ..dispatched })
        }
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
        // Applied before a crash; whoever waited for it is gone, and so is the note that it had something to send.
        let sent_from = store.is_sending(file).then_some(file);
        return Ok(Dispatched { sent_from, ..Dispatched::default() });
    }
    let unopened = |fault| Fault::new(format!("open entry {index}"), fault);
    let Some(envelope) = read(store, sealed, index).map_err(unopened)? else {
        writer.advance(index, writer.state().at);
        return answered(Outcome::refused(Refusal::KeyChanged)).map_err(|stop| halted(index, "sealed", stop));
    };
    // Of the file too: it may have come from a node that knows more.
    let level = envelope.level.max(writer.state().level);
    if level > LEVEL {
        return Err(unknown_level(level, None));
    }
    // The system file is raised by the command that says so, and by nothing else.
    if !file.is_system() || writer.state().mark == 0 {
        writer.raise(file, envelope.level)?;
    }
    let at = stamp(store, file, at.max(writer.state().at));
    let (dispatched, raised) =
        apply(writer, &envelope, index, at).map_err(|stop| halted(index, &envelope.kind, stop))?;
    if dispatched.sent_from.is_some() {
        writer.set_sending(true);
    } else if envelope.kind == ForgetSent::KIND.name {
        writer.set_sending(pending_since(writer.connection(), Millis(i64::MAX))?);
    }
    if let Some((number, key)) = &dispatched.next_key {
        store.take_next_key(file, index, *number, key)?;
    }
    if dispatched.destroyed {
        writers.destroy(store, file)?;
        return Ok(dispatched);
    }
    if let Some(replacement) = &dispatched.replacement {
        let complete = completed(store, writer, replacement, (index, at))?;
        store.put_replacement(writers, replacement, complete)?;
        return Ok(dispatched);
    }
    if let Some(level) = raised {
        writer.raise(file, level)?;
    }
    if dispatched.touches_access {
        store.touch_access(file, index);
    }
    writer.advance(index, at);
    Ok(dispatched)
}

/// What takes the place of a file, with what does not go back as the entry at `index` has left it in the present one.
/// That one is never committed with the entry in it: a crash until the other is in its place undoes nothing else.
fn completed(
    store: &Store,
    present: &Writer,
    replacement: &Replacement,
    (index, at): (u64, Millis),
) -> Result<Writer, Fault> {
    let mut restored = store.open_replacement(replacement)?;
    if !replacement.is_complete(&restored) {
        restored.raise(replacement.file, present.state().level)?;
        takeover::complete(restored.connection(), present.connection())?;
        restored.advance(index, at);
    }
    Ok(restored)
}

/// As the leader stamped the entry; but for a bug on purpose, for the test that needs a node whose apply differs.
fn stamp(store: &Store, file: OrgId, at: Millis) -> Millis {
    let differs = cfg!(debug_assertions)
        && !file.is_system()
        && raft::planted(&format!("apply_differs in {}", store.root().display()));
    if differs { at.plus(1) } else { at }
}

/// `None` when it was sealed under a key that was not the newest any more.
fn read(store: &Store, sealed: &SealedEntry<'_>, index: u64) -> Result<Option<Envelope>, Fault> {
    let Some(plain) = store.open_entry(sealed, index)? else { return Ok(None) };
    let envelope: Envelope =
        serde_json::from_slice(&plain).map_err(|error| Fault::new("decode its envelope", error))?;
    if envelope.organization != sealed.file {
        return Err(Fault::found("its envelope is for another file"));
    }
    Ok(Some(envelope))
}

fn halted(index: u64, kind: &str, stop: Stop) -> Fault {
    match stop {
        Stop::Broken(fault) => Fault::new(format!("apply entry {index} ({kind})"), fault),
        Stop::Refused(refusal) => {
            Fault::found(format!("entry {index} ({kind}): {} outside apply", refusal.code()))
        }
    }
}

/// What became of it, and the level to which it brought the file.
fn apply(
    writer: &Writer,
    envelope: &Envelope,
    index: u64,
    at: Millis,
) -> Result<(Dispatched, Option<u32>), Stop> {
    let tx = writer.connection();
    match recall(tx, envelope.request, &envelope.fingerprint)? {
        Some(Remembered::Answered(outcome)) => return Ok((answered(outcome)?, None)),
        Some(Remembered::Elsewhere) => {
            return Ok((answered(Outcome::refused(Refusal::IdempotencyKeyReused))?, None));
        }
        None => {}
    }
    let command = commands::find(&envelope.kind, envelope.version).ok_or_else(|| {
        let (kind, version) = (&envelope.kind, envelope.version);
        Fault::found(format!(
            "entry {index} holds {kind} v{version}, which this binary (version {VERSION}) does not know: upgrade \
             this node's binary"
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
    let level = writer.state().level;
    let by = (&envelope.actor, &envelope.origin);
    let mut cx = Apply::new(tx, at, envelope.organization, by, envelope.request, level);
    cx.proved_at = envelope.proved_at;
    writer.savepoint()?;
    let verdict = if command.since > level {
        Err(Refusal::LevelTooLow { needed: command.since, level }.into())
    } else {
        (command.run)(&mut cx, envelope.body.get())
    };
    let mut left = cx.finish();
    if verdict.is_err() {
        left = Left::default();
    }
    let (destroyed, next_key, raised) = (left.destroyed, left.next_key.take(), left.raised);
    let replacement = left.replacement.take();
    let touches_access = left.touches_access;
    let sends = !left.sent.is_empty();
    let outcome = settle(writer, &attempt, command.trail, verdict, left)?;
    let done = answered(outcome)?;
    remember(tx, at, envelope.request, &envelope.fingerprint, &done.reply)?;
    let sent_from = sends.then_some(envelope.organization);
    Ok((Dispatched { sent_from, destroyed, next_key, touches_access, replacement, ..done }, raised))
}

/// Keeps what was written, or takes it back; either way the attempt is on the trail.
fn settle(
    writer: &Writer,
    attempt: &Attempt<'_>,
    trail: Trail,
    verdict: Result<Box<RawValue>, Stop>,
    left: Left,
) -> Result<Outcome, Stop> {
    let tx = writer.connection();
    let (outcome, kept) = match verdict {
        Ok(reply) => {
            writer.release()?;
            store_sent(tx, attempt.at, &left.sent)?;
            (Outcome::ok(reply), Ok(left.notes))
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
    Ok(Dispatched::with(serde_json::to_vec(&outcome)?))
}
