//! Our [`Machine`] as the consensus engine's state machine.
//!
//! What always holds:
//! - one thread applies and settles; it answers a proposer only after [`Machine::apply`] has returned for its
//!   batch. The log makes the entry durable, so the answer need not wait until readers see it: whoever reads
//!   waits for [`Host::seen`], and a batch that nobody waits for is settled with those that follow it;
//! - a fault answers nobody: it is published on [`Host::halted`] and stops the engine;
//! - the *checkpoint record* (last log id, membership) is written only after [`Machine::checkpoint`]
//!   returned, so whatever it claims is durable. After a restart the engine applies again from there; the
//!   files skip by their own marks;
//! - checkpoints, exports and listings run beside apply, never beside install ([`Host::gate`]).

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use tokio::{
    sync::{RwLock, oneshot},
    time::{Instant, timeout},
};

use crate::{
    checkpoint::{CURE, Checkpoint},
    clock::{Clock, system_ms},
    contract::{Entry, Fault, FileMark, GroupId, Machine},
    figures::Counters,
    log::LogStore,
    replica::Engine,
    snapshot::{Snapshot, SnapshotData},
    task::off_thread,
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig, as_io},
    watch,
};

/// Bounds of one call of [`Machine::apply`].
const BATCH_ENTRIES: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;
/// How long, and for how many entries, readers are kept from what is applied while none of them waits.
const SETTLE_WITHIN: Duration = Duration::from_millis(20);
const SETTLE_ENTRIES: usize = 1024;
/// When very many files change, checkpoints take long: they must leave the machine to those who write. What the next
/// start applies again grows by that much.
const REST_TIMES: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(30);
/// How long a stop waits for its checkpoint.
const LAST_CHECKPOINT: Duration = Duration::from_secs(10);

/// The machine with what is known about it, shared by apply, checkpoints and snapshots.
pub(crate) struct Host {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) group: GroupId,
    pub(crate) clock: Clock,
    /// Held for writing while a snapshot is installed, for reading by everything that looks at files.
    pub(crate) gate: RwLock<()>,
    /// Index of the last entry applied and settled: what readers see.
    pub(crate) applied: watch::Sender<u64>,
    /// Readers that wait for `applied` to rise.
    waiting: AtomicUsize,
    /// Hands work to the apply thread; false when that has ended.
    worker: Mutex<Option<Worker>>,
    /// From the start of the replica to the end of its engine.
    pub(crate) log: Mutex<Option<LogStore>>,
    /// The fault that stopped this node.
    pub(crate) halted: watch::Sender<Option<String>>,
    /// Index of the newest checkpoint.
    pub(crate) durable: watch::Sender<u64>,
    pub(crate) counters: Counters,
    /// Checkpoints that are not asked for wait until then.
    rest: Mutex<Instant>,
    record: PathBuf,
    checkpoint: Mutex<Checkpoint>,
}

impl Host {
    /// Reads the checkpoint record in `folder`.
    pub(crate) fn open(machine: Arc<dyn Machine>, group: GroupId, folder: &Path) -> Result<Arc<Self>, Fault> {
        let record = Checkpoint::path(folder);
        let checkpoint = Checkpoint::read(&record)?;
        let clock = Clock::default();
        clock.seen(checkpoint.newest_ms);
        Ok(Arc::new(Self {
            machine,
            group,
            clock,
            gate: RwLock::new(()),
            applied: watch::Sender::new(checkpoint.index()),
            waiting: AtomicUsize::new(0),
            worker: Mutex::new(None),
            log: Mutex::new(None),
            halted: watch::Sender::new(None),
            durable: watch::Sender::new(checkpoint.index()),
            counters: Counters::default(),
            rest: Mutex::new(Instant::now()),
            record,
            checkpoint: Mutex::new(checkpoint),
        }))
    }

    /// Refuses a log that does not fit the files: the log holds whatever they were made from, and they hold
    /// whatever was cut from the log, so that one of the two lost something.
    pub(crate) fn require_fit(&self, purged: u64, last: u64) -> Result<(), Fault> {
        let checkpoint = self.checkpoint();
        let durable = checkpoint.index();
        if last < durable && !checkpoint.installed {
            return Err(Fault::found(format!(
                "the log ends at entry {last}, but the files were made from entries up to {durable}: a segment of \
                 the log is missing or was cut; {CURE}"
            )));
        }
        if purged > durable {
            return Err(Fault::found(format!(
                "the log begins after entry {purged}, but the files are known to hold entries up to {durable} \
                 only: the checkpoint record is missing or old; {CURE}"
            )));
        }
        Ok(())
    }

    /// The newest checkpoint.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether something was applied since the last checkpoint, and that is long enough ago.
    pub(crate) fn checkpoint_is_due(&self) -> bool {
        let rested = *self.rest.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now();
        rested && *self.applied.borrow() > *self.durable.borrow()
    }

    /// Records a fault; the first one stays. Answers the error that stops the engine.
    pub(crate) fn halt(&self, fault: Fault) -> io::Error {
        self.halted.send_if_modified(|halted| {
            let first = halted.is_none();
            if first {
                tracing::error!(%fault, "this replica halts");
                *halted = Some(fault.to_string());
            }
            first
        });
        as_io(fault)
    }

    /// Waits until readers see the entry at `index`, which has been or will be applied. For ever on a halted
    /// node: the caller limits the time, or watches [`Host::halted`].
    pub(crate) async fn seen(&self, index: u64) {
        let mut applied = self.applied.subscribe();
        if *applied.borrow_and_update() >= index {
            return;
        }
        let _waits = Waits::begin(self);
        // The sender lives as long as the host.
        let _ = applied.wait_for(|applied| *applied >= index).await;
    }

    /// As [`Host::seen`], for the engine's own work.
    async fn settled(&self, index: u64) -> Result<(), Fault> {
        let mut halted = self.halted.subscribe();
        tokio::select! {
            biased;
            () = self.seen(index) => Ok(()),
            _ = halted.wait_for(Option::is_some) => Err(Fault::found("this replica has halted")),
        }
    }

    /// Makes what is applied durable, so that the next start need not apply it again; gives up after a while.
    pub(crate) async fn last_checkpoint(&self, raft: &Engine) {
        let applied = *self.applied.borrow();
        let (mut durable, mut halted) = (self.durable.subscribe(), self.halted.subscribe());
        if *durable.borrow() >= applied || raft.trigger().snapshot().await.is_err() {
            return;
        }
        let made = async {
            tokio::select! {
                _ = durable.wait_for(|durable| *durable >= applied) => {}
                _ = halted.wait_for(Option::is_some) => {}
            }
        };
        let _ = timeout(LAST_CHECKPOINT, made).await;
    }

    fn give(&self, work: Work) -> Result<(), Fault> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        match worker.as_ref() {
            Some(give) if give(work) => Ok(()),
            _ => Err(Fault::found("the apply thread has ended")),
        }
    }

    /// The machine's files, everything applied so far settled: marks that are compared with another node's must
    /// not leave out what is on its way into a file.
    pub(crate) async fn files(self: &Arc<Self>) -> Result<Vec<FileMark>, Fault> {
        self.settle().await?;
        self.beside_apply(Machine::files).await
    }

    /// Shows readers everything applied so far, which includes everything that was answered here.
    pub(crate) async fn settle(&self) -> Result<(), Fault> {
        let (done, settled) = oneshot::channel();
        self.give(Work::Settle(Some(done)))?;
        settled.await.map_err(|_| Fault::found("this replica has halted"))
    }

    /// Runs work that may block and looks at the machine's files, never beside an install.
    pub(crate) async fn beside_apply<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&dyn Machine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let _open = self.gate.read().await;
        let machine = Arc::clone(&self.machine);
        off_thread(move || work(machine.as_ref())).await?
    }

    /// Writes the record unless a newer one is there: an install may have overtaken a checkpoint.
    fn record(&self, fresh: Checkpoint) -> Result<(), Fault> {
        let mut current = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.last >= current.last {
            fresh.write(&self.record)?;
            self.durable.send_replace(fresh.index());
            *current = fresh;
        }
        Ok(())
    }
}

/// What the engine drives.
pub(crate) struct StateMachine {
    host: Arc<Host>,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// A reader that waits: from now on every batch is settled as soon as it is applied.
struct Waits<'a>(&'a Host);

impl<'a> Waits<'a> {
    fn begin(host: &'a Host) -> Self {
        host.waiting.fetch_add(1, Ordering::SeqCst);
        // If the thread has ended, a fault says why; whoever waits has a time limit.
        let _ = host.give(Work::Settle(None));
        Self(host)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

type Worker = Box<dyn Fn(Work) -> bool + Send>;

/// What the apply thread is asked to do.
enum Work {
    Apply(Batch),
    /// Says when it is done.
    Settle(Option<oneshot::Sender<()>>),
    End,
}

/// What the apply thread does in one go.
struct Batch {
    entries: Vec<Entry>,
    /// One for each log entry that somebody waits for: the responder, and which of `entries` it is about.
    waiting: Vec<(ApplyResponder<TypeConfig>, Option<usize>)>,
    last: u64,
    done: oneshot::Sender<Result<(), Fault>>,
}

impl StateMachine {
    pub(crate) fn start(host: Arc<Host>) -> Result<Self, Fault> {
        #[cfg(test)]
        let worker = if crate::sim::runs_here() { host.work_in_task() } else { host.work_in_thread()? };
        #[cfg(not(test))]
        let worker = host.work_in_thread()?;
        *host.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        let Checkpoint { last, membership, .. } = host.checkpoint();
        Ok(Self { host, last, membership })
    }

    fn last_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index)
    }

    /// Takes the next entries off the stream: at least one, then what is ready, up to the bounds.
    async fn collect<S>(&mut self, entries: &mut S) -> Result<Option<Collected>, io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin,
    {
        let mut batch = Collected::default();
        let mut bytes = 0;
        while batch.count < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let next = if batch.count == 0 {
                entries.next().await
            } else {
                match entries.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                }
            };
            let Some(next) = next else { break };
            bytes += self.take(next?, &mut batch);
        }
        Ok((batch.count > 0).then_some(batch))
    }

    fn take(&mut self, (entry, responder): EntryResponder<TypeConfig>, batch: &mut Collected) -> usize {
        self.last = Some(entry.log_id);
        batch.count += 1;
        let mut place = None;
        let mut bytes = 0;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            EntryPayload::Normal(stamped) => {
                place = Some(batch.entries.len());
                bytes = stamped.body.len();
                self.host.clock.seen(stamped.at_ms);
                let (group, index) = (self.host.group, entry.log_id.index);
                batch.entries.push(Entry { group, index, at_ms: stamped.at_ms, body: stamped.body });
            }
        }
        if let Some(responder) = responder {
            batch.waiting.push((responder, place));
        }
        bytes
    }
}

#[derive(Default)]
struct Collected {
    count: usize,
    entries: Vec<Entry>,
    waiting: Vec<(ApplyResponder<TypeConfig>, Option<usize>)>,
}

impl Drop for StateMachine {
    fn drop(&mut self) {
        // The thread holds the host, and the host the thread's inbox: it is told, or it would live for ever.
        // The log is closed with the engine, not when that thread comes to its end.
        *self.host.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.host.give(Work::End);
    }
}

/// Applied and not yet settled.
struct Unsettled {
    since: Instant,
    entries: usize,
    last: u64,
}

impl Unsettled {
    /// How much longer readers may be kept waiting.
    fn patience(&self) -> Duration {
        SETTLE_WITHIN.saturating_sub(self.since.elapsed())
    }
}

/// On the apply thread.
impl Host {
    fn work_in_thread(self: &Arc<Self>) -> Result<Worker, Fault> {
        let (worker, inbox) = mpsc::channel();
        let applier = Arc::clone(self);
        thread::Builder::new()
            .name("raft-apply".into())
            .spawn(move || applier.work(&inbox))
            .map_err(|e| Fault::new("start the apply thread", e))?;
        Ok(Box::new(move |work| worker.send(work).is_ok()))
    }

    /// Until the engine ends or a fault.
    fn work(&self, inbox: &Receiver<Work>) {
        let mut unsettled: Option<Unsettled> = None;
        loop {
            let work = match &unsettled {
                None => inbox.recv().unwrap_or(Work::End),
                Some(open) => match inbox.recv_timeout(open.patience()) {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Timeout) => Work::Settle(None),
                    Err(RecvTimeoutError::Disconnected) => Work::End,
                },
            };
            if !self.serve(work, &mut unsettled) {
                return;
            }
        }
    }

    /// The same as a task, for the simulation.
    #[cfg(test)]
    fn work_in_task(self: &Arc<Self>) -> Worker {
        let (worker, mut inbox) = tokio::sync::mpsc::unbounded_channel();
        let applier = Arc::clone(self);
        tokio::spawn(async move {
            let mut unsettled: Option<Unsettled> = None;
            loop {
                let work = match &unsettled {
                    None => inbox.recv().await.unwrap_or(Work::End),
                    Some(open) => match tokio::time::timeout(open.patience(), inbox.recv()).await {
                        Ok(work) => work.unwrap_or(Work::End),
                        Err(_) => Work::Settle(None),
                    },
                };
                if !applier.serve(work, &mut unsettled) {
                    return;
                }
            }
        });
        Box::new(move |work| worker.send(work).is_ok())
    }

    /// Does one piece of work and settles what is due; whether to go on.
    fn serve(&self, work: Work, unsettled: &mut Option<Unsettled>) -> bool {
        let ends = matches!(work, Work::End);
        let mut asked = None;
        let wanted = match work {
            Work::End => true,
            Work::Settle(done) => {
                asked = done;
                true
            }
            Work::Apply(batch) => self.run(batch, unsettled),
        };
        let due = |open: &Unsettled| wanted || open.entries >= SETTLE_ENTRIES || open.patience().is_zero();
        if let Some(open) = unsettled.take_if(|open| due(open)) {
            if let Err(fault) = self.machine.settle() {
                self.halt(fault);
                return false;
            }
            self.applied.send_replace(open.last);
        }
        // Whoever asked may have gone.
        let _ = asked.map(|done| done.send(()));
        !ends
    }

    /// Applies a batch and answers for it; whether a reader waits.
    fn run(&self, batch: Batch, unsettled: &mut Option<Unsettled>) -> bool {
        let Batch { entries, waiting, last, done } = batch;
        let count = entries.len();
        let began = Instant::now();
        let applied = if count == 0 { Ok(Vec::new()) } else { self.machine.apply(entries) };
        self.counters.applies.since(began);
        self.counters.applied_entries.add(count as u64);
        let result = applied.and_then(|replies| {
            if replies.len() != count {
                return Err(Fault::found(format!("apply answered {} of {count} entries", replies.len())));
            }
            let open = unsettled.get_or_insert_with(|| Unsettled { since: Instant::now(), entries: 0, last });
            open.entries += count;
            open.last = last;
            for (responder, place) in waiting {
                let reply = place.map(|at| replies.get(at).cloned().unwrap_or_default());
                if reply.as_ref().is_some_and(Bytes::is_empty) {
                    return Err(Fault::found(format!(
                        "an entry up to {last} is new in the log, yet the files hold it already: the end of the log \
                         is missing; {CURE}"
                    )));
                }
                responder.send(reply.unwrap_or_default());
            }
            Ok(())
        });
        let _ = done.send(result);
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(Collected { entries, waiting, .. }) = self.collect(&mut entries).await? {
            let (done, finished) = oneshot::channel();
            let last = self.last_index();
            let ended = || Fault::found("the apply thread has ended");
            let batch = Work::Apply(Batch { entries, waiting, last, done });
            self.host.give(batch).map_err(|fault| self.host.halt(fault))?;
            finished.await.unwrap_or_else(|_| Err(ended())).map_err(|fault| self.host.halt(fault))?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (last, membership) = (self.last, self.membership.clone());
        SnapshotBuilder { host: Arc::clone(&self.host), last, membership }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData::Staged(staged) = data else {
            return Err(self.host.halt(Fault::found("a snapshot without files cannot be installed")));
        };
        let host = Arc::clone(&self.host);
        let fresh = Checkpoint {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            at_ms: system_ms(),
            installed: true,
            newest_ms: staged.newest_ms,
        };
        host.clock.seen(staged.newest_ms);
        let settled = self.host.settled(self.last_index()).await;
        settled.map_err(|fault| self.host.halt(fault))?;
        let _shut = self.host.gate.write().await;
        let installed = off_thread(move || {
            staged.install(host.machine.as_ref())?;
            host.record(fresh)
        });
        installed.await.flatten().map_err(|fault| self.host.halt(fault))?;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.host.applied.send_replace(self.last_index());
        self.host.counters.snapshot_installed();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Checkpoint { last, membership, .. } = self.host.checkpoint();
        Ok(last.map(|last| Snapshot {
            meta: SnapshotMeta { last_log_id: Some(last), last_membership: membership },
            snapshot: SnapshotData::Live,
        }))
    }
}

/// Makes a checkpoint: this *is* building a snapshot, since the files themselves are what is shipped.
pub(crate) struct SnapshotBuilder {
    host: Arc<Host>,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (last, membership) = (self.last, self.membership.clone());
        let newest_ms = self.host.clock.newest();
        let fresh = Checkpoint { last, membership, at_ms: system_ms(), installed: false, newest_ms };
        let settled = self.host.settled(fresh.index()).await;
        settled.map_err(|fault| self.host.halt(fault))?;
        // A majority made these entries durable; perhaps not this node yet. Its log is never behind its files.
        let log = self.host.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(log) = log {
            log.barrier().await.map_err(|fault| self.host.halt(fault))?;
        }
        let host = Arc::clone(&self.host);
        let made = self.host.beside_apply(move |machine| {
            let began = Instant::now();
            machine.checkpoint()?;
            host.record(fresh)?;
            host.counters.checkpoints.since(began);
            let rest = (began.elapsed() * REST_TIMES).min(REST_MAX);
            *host.rest.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + rest;
            Ok(())
        });
        made.await.map_err(|fault| self.host.halt(fault))?;
        let meta = SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        Ok(Snapshot { meta, snapshot: SnapshotData::Live })
    }
}
