//! The log in the words of the consensus engine.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use openraft::{EntryPayload, OptionalSend, RaftLogReader, storage::RaftLogStorage, vote::RaftLeaderId as _};
use tokio::sync::oneshot;

use super::{
    disk::RealDisk,
    engine::{Done, Log, LogStats, Options},
    record::{Item, Point},
};
use crate::{
    contract::{Fault, GroupId},
    task::off_thread,
    types::{Flushed, LogEntry, LogId, LogState, Stamped, TypeConfig, Vote, as_io},
};

/// Bytes of entry bodies kept in memory.
const HELD_BYTES_MAX: usize = 32 << 20;
/// Bytes of entry bodies answered at once where the engine leaves the amount to us.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Forms of an [`Item`]; part of the format on disk.
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The log of one group. Clones are handles to the same log; it is closed with the last of them.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<Log>,
    /// The newest stamp of any entry in it.
    newest_ms: Arc<AtomicU64>,
}

impl LogStore {
    /// Opens the log in `folder`, which is made if it is not there, and recovers it. Blocks.
    pub(crate) fn open(folder: &Path, group: GroupId, segment_bytes: u64) -> Result<Self, Fault> {
        let disk = RealDisk::open(folder)
            .map_err(|cause| Fault::new(format!("open the log in {}", folder.display()), cause))?;
        let options = Options { group, segment_bytes, held_bytes_max: HELD_BYTES_MAX, background: true };
        Self::over(Log::open(Arc::new(disk), options)?)
    }

    fn over(log: Log) -> Result<Self, Fault> {
        let newest_ms = Arc::new(AtomicU64::new(newest_stamp(&log)?));
        Ok(Self { log: Arc::new(log), newest_ms })
    }

    /// The newest stamp in the log. A leader stamps no lower, though it may not have applied that entry yet.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.newest_ms.load(Ordering::Acquire)
    }

    /// A log on a simulated disk, which is written whenever its owner moves the pen.
    #[cfg(test)]
    pub(crate) fn simulated(
        disk: &super::fake::FakeDisk,
        group: GroupId,
        segment_bytes: u64,
    ) -> Result<(Self, Pen), Fault> {
        let options = Options { group, segment_bytes, held_bytes_max: 2_000, background: false };
        let (log, writer) = Log::recover(Arc::new(disk.clone()), options)?;
        Ok((Self::over(log)?, Pen(writer)))
    }

    /// Waits until every entry appended before the call is durable.
    pub(crate) async fn barrier(&self) -> Result<(), Fault> {
        let (done, durable) = waiter();
        self.log.barrier(done)?;
        wait(durable).await.map_err(|error| Fault::new("make the log durable", error))
    }

    /// The highest entry that was cut from the log, and the last one it holds or held; 0 for none.
    pub(crate) fn ends(&self) -> (u64, u64) {
        let (purged, last) = self.log.ends();
        (purged.map_or(0, |purged| purged.index), last.map_or(0, |last| last.index))
    }

    /// The fault that broke the log, if one did.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.log.check()
    }

    /// What the log holds.
    pub(crate) fn stats(&self) -> LogStats {
        self.log.stats()
    }

    /// The entries of a range that the log holds, as [`Replica::committed`](crate::Replica::committed) gives them out.
    pub(crate) async fn stretch(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, Fault> {
        self.read(range, bytes_max).await.map_err(|error| Fault::new("read the log", error))
    }

    /// Reads entries; leaves the thread of the caller only when the disk must be read.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let plan = self.log.plan(range, bytes_max).map_err(as_io)?;
        let items = if plan.is_held() {
            plan.fetch()
        } else {
            off_thread(move || plan.fetch()).await.map_err(as_io)?
        };
        items.and_then(|items| items.into_iter().map(decode).collect()).map_err(as_io)
    }
}

/// The writer of a simulated log.
#[cfg(test)]
pub(crate) struct Pen(super::writer::Writer);

#[cfg(test)]
impl Pen {
    /// Waits until something is to be written.
    pub(crate) fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.0.shared);
        async move {
            while shared.pending().0 {
                shared.bell.notified().await;
            }
        }
    }

    /// Whether votes alone are to be written.
    pub(crate) fn writes_votes(&self) -> bool {
        self.0.shared.pending().1
    }

    /// Writes all that is asked; false when the log is closed.
    pub(crate) fn write(&mut self) -> bool {
        self.0.shared.pending().0 || self.0.step()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<LogEntry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(bounds(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read(start..end, ANSWER_BYTES_MAX).await
    }

    /// In portions, so that a long way to catch up does not come into memory whole.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = (self.clone(), bounds(&range), Vec::new().into_iter());
        Box::pin(stream::try_unfold(
            start,
            |(store, mut range, mut ready): (Self, _, vec::IntoIter<_>)| async {
                if ready.len() == 0 {
                    ready = store.read(range.clone(), ANSWER_BYTES_MAX).await?.into_iter();
                    let got = ready.as_slice().last().map(|entry: &LogEntry| entry.log_id.index);
                    range.start = got.map_or(range.end, |index| index.saturating_add(1));
                }
                Ok(ready.next().map(|entry| (entry, (store, range, ready))))
            },
        ))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.log.vote();
        vote.map(|vote| postcard::from_bytes(&vote).map_err(io::Error::other)).transpose()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState> {
        let (purged, last) = self.log.ends();
        Ok(LogState { last_purged_log_id: purged.map(log_id), last_log_id: last.map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = postcard::to_stdvec(vote).map_err(io::Error::other)?;
        let (done, durable) = waiter();
        self.log.save_vote(Bytes::from(vote), done).map_err(as_io)?;
        wait(durable).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed.as_ref().map(point)).map_err(as_io)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: Flushed) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let items = entries.into_iter().map(encode).collect::<Result<Vec<_>, _>>().map_err(as_io)?;
        let newest = items.iter().map(|item| item.stamp).max().unwrap_or(0);
        self.newest_ms.fetch_max(newest, Ordering::AcqRel);
        let done = Box::new(move |result: Result<(), Fault>| callback.io_completed(result.map_err(as_io)));
        self.log.append(items, done).map_err(as_io)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate(last.map(|last| last.index)).map_err(as_io)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(point(&upto), None).map_err(as_io)
    }
}

/// The stamp of the last entry that has one: stamps never fall.
fn newest_stamp(log: &Log) -> Result<u64, Fault> {
    let (purged, last) = log.ends();
    let after = |point: Option<Point>| point.map_or(0, |point| point.index.saturating_add(1));
    let (low, mut end) = (after(purged), after(last));
    while end > low {
        let start = end.saturating_sub(64).max(low);
        let items = log.plan(start..end, usize::MAX)?.fetch()?;
        if let Some(item) = items.iter().rfind(|item| item.form == NORMAL) {
            return Ok(item.stamp);
        }
        end = start;
    }
    Ok(0)
}

fn waiter() -> (Done, oneshot::Receiver<Result<(), Fault>>) {
    let (tell, durable) = oneshot::channel();
    // Nobody listens any more when the caller was cancelled; what it asked is done all the same.
    (Box::new(move |result| drop(tell.send(result))), durable)
}

async fn wait(durable: oneshot::Receiver<Result<(), Fault>>) -> io::Result<()> {
    durable.await.map_err(|_| io::Error::other("the log's writer is gone"))?.map_err(as_io)
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn point(id: &LogId) -> Point {
    Point { index: id.index, term: id.leader_id.term, leader: id.leader_id.node_id }
}

fn log_id(point: Point) -> LogId {
    LogId {
        leader_id: openraft::impls::leader_id_adv::LeaderId::new(point.term, point.leader),
        index: point.index,
    }
}

fn encode(entry: LogEntry) -> Result<Item, Fault> {
    let point = point(&entry.log_id);
    Ok(match entry.payload {
        EntryPayload::Blank => Item { point, form: BLANK, stamp: 0, body: Bytes::new() },
        EntryPayload::Normal(Stamped { at_ms, body }) => Item { point, form: NORMAL, stamp: at_ms, body },
        EntryPayload::Membership(membership) => {
            let body = postcard::to_stdvec(&membership).map_err(|cause| {
                Fault::new(format!("encode the membership of entry {}", point.index), cause)
            })?;
            Item { point, form: MEMBERSHIP, stamp: 0, body: Bytes::from(body) }
        }
    })
}

fn decode(item: Item) -> Result<LogEntry, Fault> {
    let index = item.point.index;
    let payload = match item.form {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Stamped { at_ms: item.stamp, body: item.body }),
        MEMBERSHIP => EntryPayload::Membership(
            postcard::from_bytes(&item.body)
                .map_err(|cause| Fault::new(format!("decode the membership of entry {index}"), cause))?,
        ),
        form => {
            return Err(Fault::found(format!(
                "entry {index} has form {form}, which this version does not know; a newer one wrote it"
            )));
        }
    };
    Ok(LogEntry { log_id: log_id(item.point), payload })
}
