//! The command trait, and what apply may touch.

use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Sent, envelope::derived_id};
use crate::{
    kernel::{Actor, Millis, OrgId, Origin, OutboxId, Permission, Refusal, RequestId},
    store::{Replacement, Stop, WrappedKey},
};

/// A command's name and the version of its shape. Never reused, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `slice.verb`.
    pub name: &'static str,
    /// The version of the body.
    pub version: u32,
}

impl Kind {
    /// A kind.
    pub const fn new(name: &'static str, version: u32) -> Self {
        Self { name, version }
    }
}

/// Whether a command leaves an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail {
    /// Every attempt, kept or refused, is an event in the same transaction.
    Event,
    /// Bookkeeping that changes nothing an auditor asks about (leases of calls, remembered replies, rows
    /// of the outbox); an event each would bury the trail.
    Silent,
}

/// Whether what a command needs is decided before it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Decided before, without a look at what it changes.
    Once,
    /// Before it, only what can never be allowed is refused; apply asks again with the thing that it changes.
    Again,
}

/// Something that changes one file: a pure function of (file, entry).
///
/// `apply` has four paragraphs: read, decide, write, note. It may refuse at any point; what it wrote
/// is then taken back.
pub trait Command: Serialize + DeserializeOwned + Send + 'static {
    /// Its name and version.
    const KIND: Kind;
    /// What its actor must hold, decided from rows of the same file.
    const NEEDS: Permission;
    /// Whether apply asks again, with the thing that it changes.
    const ASKS: Asks = Asks::Once;
    /// Whether it leaves an audit event.
    const TRAIL: Trail = Trail::Event;
    /// Whether its actor must have proven who they are a short while ago.
    const STEP_UP: bool = false;
    /// The level it came with: below it, the edge and apply refuse it.
    const SINCE: u32 = 1;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Whether this one asks for such a proof: for a command that is dangerous only when it says certain things.
    fn steps_up(&self) -> bool {
        Self::STEP_UP
    }

    /// Does it.
    fn apply(self, cx: &mut Apply<'_>) -> Result<Self::Reply, Stop>;
}

/// What an audit event says beside who, when and whether.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// Another action than the command's kind, for events a command causes on its way.
    pub action: Option<&'static str>,
    /// Kind of thing that was changed.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Option<String>,
    /// Before and after, without personal data.
    pub changes: Value,
    /// Personal data: kept beside the leaf, which holds a commitment to it.
    pub personal: Value,
}

/// What apply may touch: one file, the leader's time, the actor.
pub struct Apply<'a> {
    /// The file, inside the entry's savepoint.
    pub tx: &'a Connection,
    /// The leader's stamp, never falling within a file.
    pub at: Millis,
    /// The organization whose file this is.
    pub organization: OrgId,
    /// Who it is done for.
    pub actor: &'a Actor,
    /// Where it was asked from.
    pub origin: &'a Origin,
    /// The proposal.
    pub request: RequestId,
    /// The level of the file: its schema, and the semantics to apply.
    pub level: u32,
    /// When an actor from elsewhere last proved who it is, as the edge read in its own file.
    pub proved_at: Option<Millis>,
    notes: Vec<Note>,
    sent: Vec<(OutboxId, Sent)>,
    destroyed: bool,
    next_key: Option<(u32, WrappedKey)>,
    raised: Option<u32>,
    touches_access: bool,
    replacement: Option<Replacement>,
}

/// What a command leaves behind, beside what it wrote.
#[derive(Default)]
pub struct Left {
    /// For its audit event.
    pub notes: Vec<Note>,
    /// For the outbox.
    pub sent: Vec<(OutboxId, Sent)>,
    /// The file goes, once the command is kept.
    pub destroyed: bool,
    /// The data key that the file is to have, once the command is kept.
    pub next_key: Option<(u32, WrappedKey)>,
    /// The level to bring the file to, once the command is kept.
    pub raised: Option<u32>,
    /// What was looked up about callers of this file is to be looked up again.
    pub touches_access: bool,
    /// What is to take the place of the file, once the command is kept.
    pub replacement: Option<Replacement>,
}

impl<'a> Apply<'a> {
    /// The context of one entry.
    pub fn new(
        tx: &'a Connection,
        at: Millis,
        organization: OrgId,
        (actor, origin): (&'a Actor, &'a Origin),
        request: RequestId,
        level: u32,
    ) -> Self {
        Self {
            tx,
            at,
            organization,
            actor,
            origin,
            request,
            level,
            proved_at: None,
            notes: Vec::new(),
            sent: Vec::new(),
            destroyed: false,
            next_key: None,
            raised: None,
            touches_access: false,
            replacement: None,
        }
    }

    /// Says what the command's audit event is about; `changes` without personal data.
    pub fn note(&mut self, resource_type: &'static str, resource_id: impl ToString, changes: Value) {
        let resource_id = Some(resource_id.to_string());
        self.notes.push(Note { resource_type, resource_id, changes, ..Note::default() });
    }

    /// Adds personal data to the latest note.
    pub fn note_personal(&mut self, personal: Value) {
        if let Some(note) = self.notes.last_mut() {
            note.personal = personal;
        }
    }

    /// Adds an event of its own, caused by the command.
    pub fn note_also(&mut self, action: &'static str, resource_type: &'static str, id: &str, changes: Value) {
        let resource_id = Some(id.to_owned());
        self.notes.push(Note {
            action: Some(action),
            resource_type,
            resource_id,
            changes,
            personal: Value::Null,
        });
    }

    /// Sends a command to another file, by the outbox: exactly once, some time after this one commits.
    pub fn send<C: Command>(
        &mut self,
        to: OrgId,
        create: Option<WrappedKey>,
        actor: Actor,
        command: &C,
    ) -> Result<OutboxId, Stop> {
        self.post::<C>(Sent::new(to, create, actor, command)?)
    }

    /// As [`Apply::send`], to a file that may be destroyed meanwhile: then the effect has arrived, too.
    pub fn send_to_living<C: Command>(
        &mut self,
        to: OrgId,
        actor: Actor,
        command: &C,
    ) -> Result<OutboxId, Stop> {
        self.post::<C>(Sent { may_be_gone: true, ..Sent::new(to, None, actor, command)? })
    }

    fn post<C: Command>(&mut self, sent: Sent) -> Result<OutboxId, Stop> {
        if C::SINCE > self.level {
            return Err(Refusal::LevelTooLow { needed: C::SINCE, level: self.level }.into());
        }
        let ordinal = self.sent.len();
        let id = OutboxId(derived_id(self.request.0, &format!("outbox-{ordinal}")));
        self.sent.push((id, sent));
        Ok(id)
    }

    /// The file goes, with its key, when this command is kept: nothing else in it matters any more.
    pub fn destroy(&mut self) {
        self.destroyed = true;
    }

    /// From the next entry on the file has another data key.
    pub fn change_key(&mut self, number: u32, key: WrappedKey) {
        self.next_key = Some((number, key));
    }

    /// Brings the file to `level` behind this command.
    pub fn raise_to(&mut self, level: u32) {
        self.raised = Some(level);
    }

    /// Says that who may do what has changed here: users, roles, grants, sessions. Every node forgets what it looked
    /// up about callers of this file as soon as it has applied this.
    pub fn touch_access(&mut self) {
        self.touches_access = true;
    }

    /// What was made of a backup takes the place of this file: then this command is applied to that, not to this one.
    pub fn replace(&mut self, replacement: Replacement) {
        self.replacement = Some(replacement);
    }

    /// Hands over what is left behind.
    pub fn finish(self) -> Left {
        let Self { notes, sent, destroyed, next_key, raised, touches_access, replacement, .. } = self;
        Left { notes, sent, destroyed, next_key, raised, touches_access, replacement }
    }
}
