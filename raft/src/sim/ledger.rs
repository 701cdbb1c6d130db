//! Everything that was observed: shown to the invariants, counted, and folded into one number by which two runs
//! are compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use super::{
    event::Event,
    invariants::{self, Invariant},
};
use crate::contract::NodeId;

/// An invariant that does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) invariant: &'static str,
    pub(crate) why: String,
}

/// What one run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The first invariant that did not hold.
    pub(crate) verdict: Option<Verdict>,
    /// How often each thing happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Number of observations.
    pub(crate) events: u64,
    /// A checksum of all observations and their times.
    pub(crate) hash: u64,
}

struct Inside {
    invariants: Vec<Box<dyn Invariant>>,
    up: BTreeMap<NodeId, u64>,
    /// Term and node of every leader.
    leaders: BTreeSet<(u64, NodeId)>,
    outcome: Outcome,
    trace: bool,
}

/// The observations of one run.
pub(crate) struct Ledger(Mutex<Inside>);

impl Ledger {
    pub(crate) fn new(trace: bool) -> Self {
        let (up, leaders, outcome) = (BTreeMap::new(), BTreeSet::new(), Outcome::default());
        Self(Mutex::new(Inside { invariants: invariants::all(), up, leaders, outcome, trace }))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// From now on that start of the node is what runs.
    pub(crate) fn up(&self, node: NodeId, start: u64) {
        self.lock().up.insert(node, start);
    }

    /// From now on nothing runs on that node.
    pub(crate) fn down(&self, node: NodeId) {
        self.lock().up.remove(&node);
    }

    /// Takes note of what a start of a node did; nothing, once its power has been cut.
    pub(crate) fn of(&self, node: NodeId, start: u64, event: Event) {
        let mut inside = self.lock();
        if inside.up.get(&node) == Some(&start) {
            inside.take(event);
        }
    }

    /// Takes note.
    pub(crate) fn note(&self, event: Event) {
        self.lock().take(event);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.lock().outcome.clone()
    }
}

impl Inside {
    fn take(&mut self, event: Event) {
        let now_ms = super::now_ms().unwrap_or_default() - super::EPOCH_MS;
        let text = format!("{now_ms} {event:?}");
        if self.trace {
            println!("{text}");
        }
        let outcome = &mut self.outcome;
        outcome.events += 1;
        outcome.hash = text.bytes().fold(outcome.hash, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
        });
        if let Event::Led { vote, .. } = &event
            && self.leaders.insert((vote.leader_id.term, vote.leader_id.node_id))
        {
            *outcome.counts.entry("election").or_default() += 1;
        }
        let kind = match &event {
            Event::Done { what, .. } => what,
            Event::Acknowledged { .. } => "write",
            Event::Read { .. } => "read",
            Event::Cut { .. } => "power cut",
            Event::Started { .. } => "start",
            Event::Installed { .. } => "snapshot installed",
            _ => "other",
        };
        *outcome.counts.entry(kind).or_default() += 1;
        for invariant in &mut self.invariants {
            if let Err(why) = invariant.see(&event)
                && outcome.verdict.is_none()
            {
                outcome.verdict = Some(Verdict { invariant: invariant.name(), why });
            }
        }
    }
}
