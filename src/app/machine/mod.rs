//! The replicated machine: batches of committed entries onto files, one transaction per file for many batches.
//!
//! What always holds:
//! - a file belongs to one share and a share to one worker at a time, so that entries of one file are applied in
//!   the log's order while files of different shares go side by side; how many workers there are changes nothing
//!   that is stored or answered;
//! - after a fault nothing that was not committed is ever committed: half an entry may be among it.

mod workers;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use raft::{Entry, FileMark};
use tokio::sync::watch;

use self::workers::Workers;
use super::dispatch;
use crate::{
    kernel::{Fault, Millis, OrgId},
    store::{Mark, SealedEntry, Store},
};

/// Our files as consensus sees them.
pub struct FileMachine {
    store: Arc<Store>,
    workers: Workers,
    /// Files whose outbox has been filled since the jobs last looked.
    sent_from: watch::Sender<BTreeSet<OrgId>>,
    /// Those of entries not yet committed: nobody could read the effects.
    filled: Mutex<BTreeSet<OrgId>>,
    /// A fault was met.
    broken: AtomicBool,
}

/// Fewer entries to apply or files to commit are not worth waking another thread for.
const HAND_OVER_MIN: usize = 4;

/// The entries of one share, each with its place in the batch.
#[derive(Default)]
struct Part {
    share: usize,
    entries: Vec<(usize, Entry)>,
}

/// What became of a part.
#[derive(Default)]
struct Done {
    replies: Vec<(usize, Bytes)>,
    filled: BTreeSet<OrgId>,
    /// The entry that met a fault, which ended the part.
    fault: Option<(u64, Fault)>,
}

impl FileMachine {
    /// A machine over `store`, and a watch on files whose outbox was filled.
    pub fn new(store: Arc<Store>) -> Result<(Self, watch::Sender<BTreeSet<OrgId>>), Fault> {
        let (sent_from, _) = watch::channel(BTreeSet::new());
        let machine = Self {
            workers: Workers::start(store.shares())?,
            store,
            sent_from: sent_from.clone(),
            filled: Mutex::default(),
            broken: AtomicBool::new(false),
        };
        Ok((machine, sent_from))
    }

    fn apply_batch(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        self.whole()?;
        let count = entries.len();
        let parts = self.split(entries);
        let heaviest = parts.iter().map(|part| part.entries.len()).max().unwrap_or(0);
        let store = Arc::clone(&self.store);
        let done = self.share_out(parts, count - heaviest, move |part| apply_part(&store, part))?;
        self.gather(count, done)
    }

    /// Runs `work` on every part: side by side when that takes at least [`HAND_OVER_MIN`] of the load off this
    /// thread.
    fn share_out<P: Send + 'static, T: Send + 'static>(
        &self,
        parts: Vec<P>,
        taken_off: usize,
        work: impl Fn(P) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Fault> {
        if taken_off < HAND_OVER_MIN {
            return Ok(parts.into_iter().map(work).collect());
        }
        self.workers.run(parts, work)
    }

    /// The batch by share.
    fn split(&self, entries: Vec<Entry>) -> Vec<Part> {
        let shares = self.store.shares();
        let mut parts: Vec<Part> = (0..shares).map(|share| Part { share, ..Part::default() }).collect();
        for (place, entry) in entries.into_iter().enumerate() {
            // What cannot be read is a fault of whichever share.
            let file =
                if shares > 1 { SealedEntry::parse(&entry.body).map(|sealed| sealed.file) } else { None };
            let share = file.map_or(0, |file| self.store.share_of(file));
            if let Some(part) = parts.get_mut(share) {
                part.entries.push((place, entry));
            }
        }
        parts.retain(|part| !part.entries.is_empty());
        parts
    }

    /// The replies in the batch's order, or the first fault in the log's order.
    fn gather(&self, count: usize, done: Vec<Done>) -> Result<Vec<Bytes>, Fault> {
        let mut replies = vec![Bytes::new(); count];
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first: Option<(u64, Fault)> = None;
        for mut part in done {
            filled.append(&mut part.filled);
            for (place, reply) in part.replies {
                if let Some(slot) = replies.get_mut(place) {
                    *slot = reply;
                }
            }
            if let Some(fault) = part.fault
                && first.as_ref().is_none_or(|known| fault.0 < known.0)
            {
                first = Some(fault);
            }
        }
        first.map_or(Ok(replies), |(_, fault)| Err(self.break_off(fault)))
    }

    fn commit(&self) -> Result<(), Fault> {
        self.whole()?;
        let begun = self.store.begun();
        let files: usize = begun.iter().map(|(_, files)| files).sum();
        let most = begun.iter().map(|(_, files)| *files).max().unwrap_or(0);
        let store = Arc::clone(&self.store);
        let committed = self.share_out(begun, files - most, move |(share, _)| {
            store.write_share(share, |store, writers| writers.commit(store))
        })?;
        committed.into_iter().collect::<Result<(), Fault>>().map_err(|fault| self.break_off(fault))?;
        let mut filled = std::mem::take(&mut *self.filled.lock().unwrap_or_else(PoisonError::into_inner));
        if !filled.is_empty() {
            self.sent_from.send_modify(|waiting| waiting.append(&mut filled));
        }
        Ok(())
    }

    fn whole(&self) -> Result<(), Fault> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Fault::found("the machine has met a fault before"));
        }
        Ok(())
    }

    /// Nothing is committed from now on; what was not is in the log.
    fn break_off(&self, fault: Fault) -> Fault {
        self.broken.store(true, Ordering::SeqCst);
        fault
    }
}

fn apply_part(store: &Store, part: Part) -> Done {
    let mut done = Done::default();
    let Part { share, entries } = part;
    store.write_share(share, |store, writers| {
        for (place, entry) in entries {
            let at = Millis(i64::try_from(entry.at_ms).unwrap_or(i64::MAX));
            match dispatch(store, writers, entry.index, at, &entry.body) {
                Ok(dispatched) => {
                    done.filled.extend(dispatched.sent_from);
                    done.replies.push((place, Bytes::from(dispatched.reply)));
                }
                Err(fault) => {
                    done.fault = Some((entry.index, fault));
                    return;
                }
            }
        }
    });
    done
}

impl raft::Machine for FileMachine {
    fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, raft::Fault> {
        self.apply_batch(entries).map_err(outward)
    }

    fn settle(&self) -> Result<(), raft::Fault> {
        self.commit().map_err(outward)
    }

    fn checkpoint(&self) -> Result<(), raft::Fault> {
        self.store.checkpoint().map_err(outward)
    }

    fn files(&self) -> Result<Vec<FileMark>, raft::Fault> {
        let marks = self.store.marks().map_err(outward)?;
        Ok(marks.into_iter().map(to_raft).collect())
    }

    fn export(&self, name: &str, to: &Path) -> Result<Option<FileMark>, raft::Fault> {
        let Some(file) = Mark::file_of(name) else { return Ok(None) };
        Ok(self.store.export(file, to).map_err(outward)?.map(to_raft))
    }

    fn install(&self, staged: &Path, keep: &[FileMark], take: &[FileMark]) -> Result<(), raft::Fault> {
        let (keep, take) = (from_raft(keep).map_err(outward)?, from_raft(take).map_err(outward)?);
        self.store.install(staged, &keep, &take).map_err(outward)
    }
}

fn to_raft(mark: Mark) -> FileMark {
    FileMark { name: mark.name(), mark: mark.mark, seal: mark.keys.into_bytes() }
}

fn from_raft(marks: &[FileMark]) -> Result<Vec<Mark>, Fault> {
    let read = |mark: &FileMark| {
        let file = Mark::file_of(&mark.name)?;
        let keys = String::from_utf8(mark.seal.clone()).ok()?;
        Some(Mark { file, mark: mark.mark, keys })
    };
    let named =
        |mark: &FileMark| Fault::found(format!("a snapshot names {:?}, which is no file of ours", mark.name));
    marks.iter().map(|mark| read(mark).ok_or_else(|| named(mark))).collect()
}

fn outward(fault: Fault) -> raft::Fault {
    raft::Fault::found(fault.to_string())
}

#[cfg(test)]
mod tests;
