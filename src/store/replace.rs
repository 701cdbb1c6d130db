//! One file replaced by a copy of another node's, beside everything that goes on in other files.

use std::{
    path::Path,
    sync::{PoisonError, RwLockWriteGuard, atomic::Ordering},
};

use super::{
    files::{Store, lock},
    marks::Marks,
    snapshot::{Install, Mark, complete, note},
    writer::Writers,
};
use crate::kernel::{Fault, FileId};

impl Store {
    /// Puts the copy that lies in `staged`, fsynced and under its name, in the place of this node's file.
    ///
    /// The file must be in quarantine and hold entries back ([`Store::hold_back`]): what lies between the copy's
    /// mark and what this node has applied is applied to it next. It stays in quarantine. `false`, and nothing is
    /// done, when a snapshot was faster or too much had to be held back.
    pub fn replace(&self, staged: &Path, copy: &Mark) -> Result<bool, Fault> {
        // In this order: apply destroys files, alone, while it holds their share.
        let mut writers = lock(self.writers.get(self.share_of(copy.file)));
        let _alone = self.alone();
        if !self.is_held_back(copy.file) {
            return Ok(false);
        }
        self.put(&mut writers, staged, copy)?;
        Ok(true)
    }

    /// Puts the file that lies in `staged` under its name in the place of this node's. Only while nobody else has it open.
    pub(super) fn put(&self, writers: &mut Writers, staged: &Path, copy: &Mark) -> Result<(), Fault> {
        writers.close(copy.file);
        self.readers.close(copy.file);
        lock(&self.keys).remove(&copy.file);
        // The marks on disk are those of the last checkpoint: those in memory are not durable yet.
        let mut marks = Marks::load(&self.root)?;
        marks.set(copy.file, copy.mark);
        // What is sent already is found to be sent.
        marks.set_sending(copy.file, true);
        let (sending, marks) = (marks.sending().iter().copied().collect(), marks.list().collect());
        let take = vec![copy.clone()];
        note(&self.root, &Install { staged: staged.to_owned(), take, remove: Vec::new(), marks, sending })?;
        complete(&self.root)?;
        self.follow_copy(copy.file);
        // Its keys may be wrapped under an older cluster key.
        self.rewrapped.store(0, Ordering::SeqCst);
        let mut marks = lock(&self.marks);
        marks.set(copy.file, copy.mark);
        marks.set_sending(copy.file, true);
        drop(marks);
        self.epochs.touch_all();
        lock(&self.standings).forget(copy.file);
        lock(&self.dirty).remove(&copy.file);
        lock(&self.overgrown).remove(&copy.file);
        if copy.file.is_system() {
            self.learn_level()?;
            self.require_known_level()?;
        }
        Ok(())
    }

    /// Makes what was applied to `file` durable.
    pub fn make_durable(&self, file: FileId) -> Result<(), Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.checkpoint_file(file)
    }

    /// Waits until nobody has a file open; long readers make room. Whoever needs the writers too takes them first.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.waiting_alone.fetch_add(1, Ordering::SeqCst);
        let alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.waiting_alone.fetch_sub(1, Ordering::SeqCst);
        alone
    }

    /// Whether somebody waits to be alone with the files.
    pub(super) fn wants_alone(&self) -> bool {
        self.waiting_alone.load(Ordering::SeqCst) > 0
    }
}
