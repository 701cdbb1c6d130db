//! The log as its owner sees it: requests go in at one end, reads come from the index.

use std::{
    collections::BTreeMap,
    mem,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    disk::Disk,
    durable::Durable,
    index::{Found, Index, Place},
    keeper::{Keeper, Maker},
    read,
    record::{Item, Point},
    recover::recover,
    segment::Segment,
    writer::Writer,
};
use crate::{
    contract::{Fault, GroupId},
    figures::{Timed, Took},
};

/// Called once, in the writer's thread, when a request is durable or has failed.
pub(super) type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// How a log runs.
pub(super) struct Options {
    /// Whose log it is.
    pub(super) group: GroupId,
    /// Size of a segment file.
    pub(super) segment_bytes: u64,
    /// Bytes of entry bodies kept in memory.
    pub(super) held_bytes_max: usize,
    /// Whether segments are made and removed in a thread of their own.
    pub(super) background: bool,
}

/// What a request asks.
pub(super) enum Op {
    /// Entries, each with the ticket of its place in the index.
    Append(Vec<(Item, u64)>),
    /// A vote.
    Vote(Bytes),
    /// The committed position.
    Committed(Option<Point>),
    /// Drop the entries above an index.
    Truncate(Option<u64>),
    /// Drop the entries up to a position.
    Purge(Point),
    /// Nothing: whoever asks learns that all that was asked before is durable.
    Barrier,
}

impl Op {
    /// Whether it must be durable before anyone is told. A truncation need not: what follows it in
    /// the file makes it durable, and until then the old tail is as good as the new one. The
    /// committed position is a hint that may be lost.
    pub(super) fn wants_sync(&self) -> bool {
        match self {
            Self::Append(items) => !items.is_empty(),
            Self::Vote(_) | Self::Purge(_) | Self::Barrier => true,
            Self::Committed(_) | Self::Truncate(_) => false,
        }
    }
}

/// One request to the writer.
pub(super) struct Request {
    /// What is asked.
    pub(super) op: Op,
    /// Who is to be told.
    pub(super) done: Option<Done>,
}

/// A segment and what is known about its content.
pub(super) struct Held {
    /// The open file.
    pub(super) segment: Arc<Segment>,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Highest index of any entry in it, also of entries truncated since.
    pub(super) last: Option<u64>,
}

struct State {
    index: Index,
    vote: Option<Bytes>,
    committed: Option<Point>,
    segments: BTreeMap<u64, Held>,
    queue: Vec<Request>,
    closed: bool,
    /// The first fault. It is never cleared: what was written after it is unknown.
    broken: Option<String>,
}

/// What callers and the writer share.
pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// The same for a writer that is a task: in the simulation.
    #[cfg(test)]
    pub(super) bell: tokio::sync::Notify,
    /// Every `fdatasync` of the writer.
    pub(super) syncs: Timed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer.
    fn ring(&self) {
        self.wake.notify_one();
        #[cfg(test)]
        self.bell.notify_one();
    }

    /// Whether the writer has nothing to do; and whether what it has to do are votes alone.
    #[cfg(test)]
    pub(super) fn pending(&self) -> (bool, bool) {
        let state = self.lock();
        let idle = state.queue.is_empty() && !state.closed;
        let asked = |request: &Request| matches!(request.op, Op::Vote(_) | Op::Committed(_));
        (idle, state.queue.iter().all(asked))
    }

    /// Waits for requests and takes them all; `None` when the log is closed and all are served.
    pub(super) fn take(&self) -> Option<Vec<Request>> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            if state.closed {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(mem::take(&mut state.queue))
    }

    /// Breaks the log for good.
    pub(super) fn fail(&self, fault: &Fault) {
        let mut state = self.lock();
        if state.broken.is_none() {
            state.broken = Some(fault.to_string());
            drop(state);
            tracing::error!(fault = %fault, "the log is broken");
        }
    }

    /// The fault that broke the log, if one did.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.lock().check()
    }

    /// Takes note of written entries; `size` is where the segment now ends.
    pub(super) fn settle(&self, segment: u64, size: u64, places: impl Iterator<Item = (u64, u64, Place)>) {
        let mut state = self.lock();
        let mut last = None;
        for (index, ticket, place) in places {
            state.index.settle(index, ticket, place);
            last = last.max(Some(index));
        }
        state.index.evict();
        if let Some(held) = state.segments.get_mut(&segment) {
            held.last = held.last.max(last);
            held.bytes = held.bytes.max(size);
        }
    }

    /// Takes note of a new segment.
    pub(super) fn add_segment(&self, segment: Arc<Segment>, bytes: u64) {
        self.lock().segments.insert(segment.number, Held { segment, bytes, last: None });
    }

    /// Forgets the oldest segments whose entries all lie at or below `purged`, but none from
    /// `present` on; answers their numbers, oldest first.
    pub(super) fn release(&self, purged: u64, present: u64) -> Vec<u64> {
        let mut state = self.lock();
        let mut released = Vec::new();
        while let Some(oldest) = state.segments.first_entry() {
            if *oldest.key() >= present || oldest.get().last.is_some_and(|last| last > purged) {
                break;
            }
            released.push(*oldest.key());
            oldest.remove();
        }
        released
    }
}

impl State {
    fn check(&self) -> Result<(), Fault> {
        match &self.broken {
            Some(broken) => Err(Fault::found(broken.clone())),
            None => Ok(()),
        }
    }

    fn segment(&self, number: u64) -> Option<Arc<Segment>> {
        self.segments.get(&number).map(|held| held.segment.clone())
    }
}

/// What the log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogStats {
    /// Bytes of all segment files, what is preallocated included.
    pub bytes_on_disk: u64,
    /// Number of segment files.
    pub segments: usize,
    /// Lowest index held; `None` when the log holds no entry.
    pub first_index: Option<u64>,
    /// Highest index held; `None` when the log holds no entry.
    pub last_index: Option<u64>,
    /// Every `fdatasync` since the start, each for all writes that waited.
    pub syncs: Took,
}

/// An open log. Closed, and all that was asked served, when dropped.
pub(super) struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Recovers the log in a folder and starts its writer.
    pub(super) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, Fault> {
        let (mut log, writer) = Self::recover(disk, options)?;
        let thread = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|cause| Fault::new("start the thread that writes the log", cause))?;
        log.writer = Some(thread);
        Ok(log)
    }

    /// Recovers the log in a folder. Nothing is written until someone runs the writer.
    pub(super) fn recover(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Writer), Fault> {
        let Options { group, segment_bytes, held_bytes_max, background } = options;
        let (durable, known) = Durable::open(&*disk)?;
        let found = recover(&*disk, group, segment_bytes, held_bytes_max, known)?;
        let maker = Maker { disk, group, segment_bytes };
        let present = match found.spare {
            Some(spare) => spare,
            None => maker.make(found.next_segment)?,
        };
        let mut segments = found.segments;
        let held = Held { segment: present.clone(), bytes: segment_bytes, last: None };
        segments.insert(present.number, held);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                index: found.index,
                vote: found.marks.vote.clone().map(Bytes::from),
                committed: found.committed,
                segments,
                queue: Vec::new(),
                closed: false,
                broken: None,
            }),
            wake: Condvar::new(),
            #[cfg(test)]
            bell: tokio::sync::Notify::new(),
            syncs: Timed::default(),
        });
        let keeper = if background { Keeper::start(maker, shared.clone())? } else { Keeper::Inline(maker) };
        let writer = Writer::new(
            shared.clone(),
            keeper,
            durable,
            present,
            segment_bytes,
            found.marks,
            found.last_frame,
        );
        Ok((Self { shared, writer: None }, writer))
    }

    /// Adds entries. They can be read when this returns; `done` is called when they are durable.
    pub(super) fn append(&self, items: Vec<Item>, done: Done) -> Result<(), Fault> {
        self.submit(move |state| {
            let mut ticketed = Vec::with_capacity(items.len());
            for item in items {
                if !state.index.takes(item.point.index) {
                    let next = state.index.next();
                    return Err(Fault::found(format!(
                        "entry {} was appended to the log, whose next is {next}",
                        item.point.index
                    )));
                }
                let ticket = state.index.push(&item);
                ticketed.push((item, ticket));
            }
            Ok(Request { op: Op::Append(ticketed), done: Some(done) })
        })
    }

    /// Saves a vote; `done` is called when it is durable.
    pub(super) fn save_vote(&self, vote: Bytes, done: Done) -> Result<(), Fault> {
        self.submit(move |state| {
            state.vote = Some(vote.clone());
            Ok(Request { op: Op::Vote(vote), done: Some(done) })
        })
    }

    /// Saves the committed position, sometime: it travels with the next request that wakes the writer. A
    /// write of its own after every commit costs more than the hint is worth.
    pub(super) fn save_committed(&self, point: Option<Point>) -> Result<(), Fault> {
        let mut state = self.shared.lock();
        state.check()?;
        state.committed = point;
        // Only the last one matters: an older one that still waits is replaced.
        state.queue.retain(|request| !matches!(request.op, Op::Committed(_)));
        state.queue.push(Request { op: Op::Committed(point), done: None });
        Ok(())
    }

    /// Changes nothing; `done` is called when everything asked before is durable.
    pub(super) fn barrier(&self, done: Done) -> Result<(), Fault> {
        self.submit(move |_| Ok(Request { op: Op::Barrier, done: Some(done) }))
    }

    /// Drops all entries above `keep`; all when there is none.
    pub(super) fn truncate(&self, keep: Option<u64>) -> Result<(), Fault> {
        self.submit(move |state| {
            state.index.truncate(keep);
            Ok(Request { op: Op::Truncate(keep), done: None })
        })
    }

    /// Drops all entries up to `point`, and the segments below once that is durable.
    pub(super) fn purge(&self, point: Point, done: Option<Done>) -> Result<(), Fault> {
        self.submit(move |state| {
            state.index.purge(point);
            Ok(Request { op: Op::Purge(point), done })
        })
    }

    /// Changes what readers see and queues the request in one step: both happen in the same order.
    fn submit(&self, ask: impl FnOnce(&mut State) -> Result<Request, Fault>) -> Result<(), Fault> {
        let mut state = self.shared.lock();
        state.check()?;
        let asked = ask(&mut state);
        match asked {
            Ok(request) => {
                state.queue.push(request);
                drop(state);
                self.shared.ring();
                Ok(())
            }
            Err(fault) => {
                drop(state);
                // Readers may have seen part of the request: nothing may follow it.
                self.shared.fail(&fault);
                Err(fault)
            }
        }
    }

    /// The entries of a range that the log holds; stops after `bytes_max` of bodies, but not before
    /// the first. Reads no disk: what is not in memory is fetched by [`read::Plan::fetch`].
    pub(super) fn plan(&self, range: Range<u64>, bytes_max: usize) -> Result<read::Plan, Fault> {
        let state = self.shared.lock();
        state.check()?;
        let parts = state
            .index
            .find(range, bytes_max)
            .into_iter()
            .map(|found| match found {
                Found::Held(item) => Ok(read::Part::Held(item)),
                Found::Stored { point, place, bytes } => {
                    let segment = state.segment(place.segment).ok_or_else(|| {
                        Fault::found(format!("entry {} lies in a segment that is gone", point.index))
                    })?;
                    Ok(read::Part::Stored { point, segment, offset: place.offset, bytes })
                }
            })
            .collect::<Result<_, Fault>>()?;
        Ok(read::Plan(parts))
    }

    /// The vote as last saved.
    pub(super) fn vote(&self) -> Option<Bytes> {
        self.shared.lock().vote.clone()
    }

    /// The committed position as last saved.
    pub(super) fn committed(&self) -> Option<Point> {
        self.shared.lock().committed
    }

    /// The highest purged entry, and the last entry, which may be the same.
    pub(super) fn ends(&self) -> (Option<Point>, Option<Point>) {
        let state = self.shared.lock();
        let purged = state.index.purged();
        (purged, state.index.last().or(purged))
    }

    /// The fault that broke the log, if one did.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.shared.check()
    }

    /// What the log holds.
    pub(super) fn stats(&self) -> LogStats {
        let state = self.shared.lock();
        LogStats {
            bytes_on_disk: state.segments.values().map(|held| held.bytes).sum(),
            segments: state.segments.len(),
            first_index: state.index.first(),
            last_index: state.index.last().map(|point| point.index),
            syncs: self.shared.syncs.read(),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ring();
        if let Some(writer) =
            self.writer.take().filter(|writer| writer.thread().id() != thread::current().id())
        {
            // A panic in it has been printed already.
            let _ = writer.join();
        }
    }
}
