//! What this replica has done since it started: counts, and the time they took. Atomics only: counting must
//! not slow what is counted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use serde::Serialize;

use crate::{clock::system_ms, contract::Unavailable};

/// How often something was done, and the time it took altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Took {
    /// How often.
    pub count: u64,
    /// Microseconds, altogether.
    pub micros: u64,
}

/// What a replica has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Proposals of this node that were applied.
    pub proposals_done: u64,
    /// Proposals that found no quorum: nothing was written.
    pub proposals_no_quorum: u64,
    /// Proposals whose outcome this node does not know.
    pub proposals_unknown: u64,
    /// Proposals to a node that was stopping or had met a fault.
    pub proposals_halted: u64,
    /// Proposals larger than the log takes.
    pub proposals_too_large: u64,
    /// Batches applied to the files.
    pub applies: Took,
    /// Entries in those batches.
    pub applied_entries: u64,
    /// Checkpoints made.
    pub checkpoints: Took,
    /// Snapshots brought to followers.
    pub snapshots_sent: u64,
    /// Bytes of files in them, and of the lists of all files that begin them.
    pub snapshot_bytes_sent: u64,
    /// Snapshots installed here.
    pub snapshots_installed: u64,
    /// The same, received.
    pub snapshot_bytes_received: u64,
    /// When a snapshot was last brought to a follower or installed here, milliseconds since the epoch; 0 for never.
    pub snapshot_at_ms: u64,
}

/// Counts how often, and for how long.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Timed {
    pub(crate) fn since(&self, began: Instant) {
        self.add(began.elapsed());
    }

    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Took {
        Took { count: self.count.load(Ordering::Relaxed), micros: self.micros.load(Ordering::Relaxed) }
    }
}

/// A count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    done: Count,
    no_quorum: Count,
    unknown: Count,
    halted: Count,
    too_large: Count,
    pub(crate) applies: Timed,
    pub(crate) applied_entries: Count,
    pub(crate) checkpoints: Timed,
    snapshots_sent: Count,
    pub(crate) snapshot_bytes_sent: Count,
    snapshots_installed: Count,
    pub(crate) snapshot_bytes_received: Count,
    snapshot_at_ms: AtomicU64,
}

impl Counters {
    pub(crate) fn proposed<T>(&self, outcome: &Result<T, Unavailable>) {
        let counter = match outcome {
            Ok(_) => &self.done,
            Err(Unavailable::NoQuorum) => &self.no_quorum,
            Err(Unavailable::OutcomeUnknown) => &self.unknown,
            Err(Unavailable::Halted) => &self.halted,
            Err(Unavailable::TooLarge) => &self.too_large,
        };
        counter.add(1);
    }

    pub(crate) fn snapshot_sent(&self) {
        self.snapshots_sent.add(1);
        self.snapshot_at_ms.store(system_ms(), Ordering::Relaxed);
    }

    pub(crate) fn snapshot_installed(&self) {
        self.snapshots_installed.add(1);
        self.snapshot_at_ms.store(system_ms(), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Figures {
        Figures {
            proposals_done: self.done.read(),
            proposals_no_quorum: self.no_quorum.read(),
            proposals_unknown: self.unknown.read(),
            proposals_halted: self.halted.read(),
            proposals_too_large: self.too_large.read(),
            applies: self.applies.read(),
            applied_entries: self.applied_entries.read(),
            checkpoints: self.checkpoints.read(),
            snapshots_sent: self.snapshots_sent.read(),
            snapshot_bytes_sent: self.snapshot_bytes_sent.read(),
            snapshots_installed: self.snapshots_installed.read(),
            snapshot_bytes_received: self.snapshot_bytes_received.read(),
            snapshot_at_ms: self.snapshot_at_ms.load(Ordering::Relaxed),
        }
    }
}
