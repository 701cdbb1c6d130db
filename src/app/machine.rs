//! The replicated machine: batches of committed entries onto files, one transaction per file for many batches.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use raft::{Entry, FileMark};
use tokio::sync::watch;

use super::dispatch;
use crate::{
    kernel::{Fault, Millis, OrgId},
    store::{Mark, Store},
};

/// Our files as consensus sees them.
pub struct FileMachine {
    store: Arc<Store>,
    /// Files whose outbox has been filled since the jobs last looked.
    sent_from: watch::Sender<BTreeSet<OrgId>>,
    /// Those of entries not yet committed: nobody could read the effects.
    filled: Mutex<BTreeSet<OrgId>>,
}

impl FileMachine {
    /// A machine over `store`, and a watch on files whose outbox was filled.
    pub fn new(store: Arc<Store>) -> (Self, watch::Sender<BTreeSet<OrgId>>) {
        let (sent_from, _) = watch::channel(BTreeSet::new());
        (Self { store, sent_from: sent_from.clone(), filled: Mutex::default() }, sent_from)
    }

    fn apply_batch(&self, entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.write(|store, writers| {
            let mut replies = Vec::with_capacity(entries.len());
            for entry in entries {
                let at = Millis(i64::try_from(entry.at_ms).unwrap_or(i64::MAX));
                let dispatched = dispatch(store, writers, entry.index, at, &entry.body)?;
                filled.extend(dispatched.sent_from);
                replies.push(Bytes::from(dispatched.reply));
            }
            Ok(replies)
        })
    }

    fn commit(&self) -> Result<(), Fault> {
        self.store.write(|store, writers| writers.commit(store))?;
        let mut filled = std::mem::take(&mut *self.filled.lock().unwrap_or_else(PoisonError::into_inner));
        if !filled.is_empty() {
            self.sent_from.send_modify(|waiting| waiting.append(&mut filled));
        }
        Ok(())
    }
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
