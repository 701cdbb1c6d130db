//! The handle that every handler and job holds: propose a command, read a file.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use raft::{GroupId, Leadership, Replica, Unavailable};
use rusqlite::Connection;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    Answer, Command, Envelope, Outcome, Sent, Ticket, WITHHELD, copies::Copies, keys::Mints, turns::Turns,
};
use crate::{
    kernel::{Fault, Millis, OrgId, Refusal, to_hex},
    store::{Awaited, LEVEL, Quarantined, Store, WrappedKey},
};

/// Why a proposal or a read has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The rules said no.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether the verdict is a remembered one.
        replayed: bool,
    },
    /// No quorum: nothing was written.
    NoQuorum,
    /// The time ran out: it may or may not be applied; ask again under the same request id.
    OutcomeUnknown,
    /// This node is stopping.
    Halted,
    /// The command is larger than the log takes.
    TooLarge,
    /// This node must not answer from that file; another one can.
    Quarantined,
    /// A restore has not fetched that file yet.
    Awaited,
    /// A restore could not fetch that file, and tries again.
    NotRestored,
    /// This node failed; it will halt.
    Broken(Fault),
}

impl From<Unavailable> for Unanswered {
    fn from(reason: Unavailable) -> Self {
        match reason {
            Unavailable::NoQuorum => Self::NoQuorum,
            Unavailable::OutcomeUnknown => Self::OutcomeUnknown,
            Unavailable::Halted => Self::Halted,
            Unavailable::TooLarge => Self::TooLarge,
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Linearizable: sees every write acknowledged before it began.
    Strong,
    /// Sees the caller's own writes, on any node; the index of the last one if the caller says it.
    Session(Option<u64>),
    /// Whatever this node has applied.
    Local,
}

/// One node's way into the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    replica: Replica,
    store: Arc<Store>,
    copies: Arc<Copies>,
    turns: Turns,
    halt: mpsc::UnboundedSender<String>,
    mints: Arc<Mints>,
    started: Instant,
    reports: Arc<Mutex<BTreeMap<&'static str, Value>>>,
}

/// How long a proposal may take before its outcome is called unknown.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// A key changes rarely: one proposal does not meet it more often.
const SEALED_MAX: u32 = 3;
/// How long a read waits for the freshness it asked for.
const READ_WITHIN: Duration = Duration::from_secs(5);

impl Cluster {
    /// A handle; a fault met on the way is sent to `halt`, whose owner stops the node.
    pub fn new(replica: Replica, store: Arc<Store>, halt: mpsc::UnboundedSender<String>) -> Self {
        let (turns, copies, mints, reports) =
            (Turns::default(), Arc::default(), Arc::default(), Arc::default());
        Self { replica, store, copies, turns, halt, mints, started: Instant::now(), reports }
    }

    /// The consensus beneath.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Milliseconds since this node started.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The files beneath.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A part of this node says how it is, for other members to ask; in place of what it said before.
    pub fn report(&self, name: &'static str, report: Value) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(name, report);
    }

    /// What a part of this node said last; null when it said nothing.
    pub fn reported(&self, name: &str) -> Value {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    pub(super) fn mints(&self) -> &Arc<Mints> {
        &self.mints
    }

    pub(super) fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Whether this node leads, now and later.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.replica.leadership()
    }

    /// Proposes a command to `file` and answers what apply decided.
    pub async fn propose<C: Command>(
        &self,
        ticket: &Ticket,
        file: OrgId,
        command: &C,
    ) -> Result<Answer<C::Reply>, Unanswered> {
        self.require_level(C::SINCE)?;
        let sent = Sent::new(file, None, ticket.actor.clone(), command).map_err(unwritable)?;
        // At home its session's row says it, and of what asks for no proof it is nobody's business.
        let away = ticket.actor.home().is_some_and(|home| home != file);
        let proved_at = ticket.proved_at.filter(|_| away && command.steps_up());
        let (outcome, index) = self.propose_proven(ticket, sent, proved_at).await?;
        outcome.answer(index)
    }

    /// As [`Cluster::propose`], for the command that creates its file.
    pub async fn propose_creating<C: Command>(
        &self,
        ticket: &Ticket,
        file: OrgId,
        key: WrappedKey,
        command: &C,
    ) -> Result<Answer<C::Reply>, Unanswered> {
        let sent = Sent::new(file, Some(key), ticket.actor.clone(), command).map_err(unwritable)?;
        let (outcome, index) = self.propose_sent(ticket, sent).await?;
        outcome.answer(index)
    }

    pub(super) async fn propose_sent(
        &self,
        ticket: &Ticket,
        sent: Sent,
    ) -> Result<(Outcome, u64), Unanswered> {
        self.propose_proven(ticket, sent, None).await
    }

    async fn propose_proven(
        &self,
        ticket: &Ticket,
        sent: Sent,
        proved_at: Option<Millis>,
    ) -> Result<(Outcome, u64), Unanswered> {
        self.await_arrival(sent.to).await?;
        let salt = self.store.keyring().draw::<32>().map_err(Unanswered::Broken)?;
        let envelope = Envelope {
            kind: sent.kind,
            version: sent.version,
            level: self.level_for(&sent.to, sent.since, sent.create.is_some()),
            group: GroupId::MAIN.0,
            organization: sent.to,
            actor: sent.actor,
            request: ticket.request,
            fingerprint: ticket.fingerprint.clone(),
            salt: to_hex(&salt),
            origin: ticket.origin.clone(),
            body: sent.body,
            proved_at,
        };
        let plain = serde_json::to_vec(&envelope).map_err(unwritable)?;
        // Nothing was written as long as it was not its turn.
        let turn = timeout(WRITE_WITHIN, self.turns.take(envelope.organization)).await;
        let _turn = turn.map_err(|_| Unanswered::NoQuorum)?;
        for attempt in 1.. {
            let Some(sealed) = self.seal(envelope.organization, sent.create.as_ref(), &plain).await? else {
                break;
            };
            let committed = self.replica.propose(Bytes::from(sealed), WRITE_WITHIN).await?;
            if committed.reply == WITHHELD {
                return Err(Unanswered::OutcomeUnknown);
            }
            let outcome: Outcome = serde_json::from_slice(&committed.reply)
                .map_err(|error| Unanswered::Broken(Fault::new("read an outcome", error)))?;
            if outcome.refusal() != Some(&Refusal::KeyChanged) || attempt == SEALED_MAX {
                return Ok((outcome, committed.index));
            }
            // The file has a new key, which this node learns with the entry that brought it.
            self.replica.wait_applied(committed.index, READ_WITHIN).await?;
        }
        Ok((Outcome::refused(Refusal::NotFound), self.replica.applied_index()))
    }

    /// Seals an entry under its file's key; `None` when there is no such file.
    async fn seal(
        &self,
        file: OrgId,
        brings: Option<&WrappedKey>,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, Unanswered> {
        let seal = || self.store.seal_entry(file, brings, plain).map_err(|fault| self.halt(fault));
        if let Some(sealed) = seal()? {
            return Ok(Some(sealed));
        }
        // Perhaps it has only not reached this node yet.
        self.replica.read_barrier(READ_WITHIN).await?;
        seal()
    }

    /// The level that an envelope carries: the one in force as far as this node knows it. One that is behind is
    /// valid too; one above would change files that other nodes may not understand yet.
    fn level_for(&self, file: &OrgId, since: u32, creates: bool) -> u32 {
        match self.store.level() {
            // The entry that begins the cluster: what its only node can.
            0 if creates && file.is_system() => LEVEL,
            // An effect that was sent at its level arrives at it, whatever this node has learned by now.
            level => level.max(since),
        }
    }

    /// Refuses early what apply would refuse.
    fn require_level(&self, needed: u32) -> Result<(), Unanswered> {
        let level = self.store.level().max(1);
        if needed <= level {
            return Ok(());
        }
        Err(Unanswered::Refused { refusal: Refusal::LevelTooLow { needed, level }, replayed: false })
    }

    /// Runs queries on a view of `file` as fresh as `view` asks; `None` when it does not exist.
    pub async fn read<T: Send + 'static>(
        &self,
        view: &View,
        file: OrgId,
        queries: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<Option<T>, Unanswered> {
        self.await_view(view).await?;
        self.await_arrival(file).await?;
        let store = Arc::clone(&self.store);
        let answer = tokio::task::spawn_blocking(move || store.read(file, queries)).await;
        match answer {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(fault)) if Quarantined::is(&fault) => Err(Unanswered::Quarantined),
            Ok(Err(fault)) if Awaited::is(&fault) => Err(Unanswered::Awaited),
            Ok(Err(fault)) => Err(self.halt(fault)),
            Err(error) => Err(self.halt(Fault::new("read a file", error))),
        }
    }

    /// Waits until this node's state is as fresh as `view` asks.
    pub async fn await_view(&self, view: &View) -> Result<(), Unanswered> {
        match view {
            View::Local => Ok(()),
            View::Strong if raft::planted("stale_reads") => Ok(()),
            View::Session(Some(index)) => Ok(self.replica.wait_applied(*index, READ_WITHIN).await?),
            // Without an index nobody here knows what the caller wrote elsewhere: see everything acknowledged.
            View::Strong | View::Session(None) => {
                self.replica.read_barrier(READ_WITHIN).await?;
                Ok(())
            }
        }
    }

    /// Stops the node because of `fault`; the answer for whoever asked.
    pub fn halt(&self, fault: Fault) -> Unanswered {
        // The receiver lives as long as the node; if it is gone, the node is stopping already.
        let _ = self.halt.send(fault.to_string());
        Unanswered::Broken(fault)
    }
}

fn unwritable(error: serde_json::Error) -> Unanswered {
    Unanswered::Broken(Fault::new("write a command", error))
}
