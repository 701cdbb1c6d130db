//! Checkpoints: everything applied so far becomes durable, while apply goes on.

use std::{collections::BTreeSet, mem, sync::PoisonError};

use super::{
    durable::sync_folder,
    files::{Store, lock},
    marks::Marks,
    open,
};
use crate::kernel::{Fault, FileId};

/// Pages of write-ahead log (16 MiB) beyond which the writer is asked to start it afresh.
const LOG_PAGES_MAX: i64 = 4096;

impl Store {
    /// Makes every effect of entries applied before the call durable.
    ///
    /// SQLite syncs the write-ahead log before it copies pages, and the file after: a power cut at any
    /// instant leaves a readable file at this checkpoint's mark or above.
    pub fn checkpoint(&self) -> Result<(), Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let record = lock(&self.marks).record()?;
        let dirty: BTreeSet<FileId> = mem::take(&mut *lock(&self.dirty));
        if dirty.is_empty() {
            return Ok(());
        }
        // Destroyed since it was written: nothing is left to make durable.
        for file in dirty.iter().filter(|file| self.exists(**file)) {
            match self.checkpoint_file(*file) {
                Err(fault) if !self.skips_from_here(*file, &fault)? => return Err(fault),
                _ => {}
            }
        }
        sync_folder(&self.root.join("tenants"))?;
        sync_folder(&self.root)?;
        Marks::save(&self.root, &record)
    }

    /// Closes the write connections that were not used since the last call, and leaves no log behind: whatever is cold
    /// costs neither memory, nor descriptors, nor a log to read when it is next needed.
    pub fn close_idle(&self) -> Result<(), Fault> {
        for writers in self.writers.iter() {
            let closed = lock(writers).close_idle();
            for file in closed {
                let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
                // What is dirty is closed by the next checkpoint.
                if !self.exists(file) || lock(&self.dirty).contains(&file) {
                    continue;
                }
                match self.checkpoint_file(file) {
                    Err(fault) if !self.skips_from_here(file, &fault)? => return Err(fault),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn checkpoint_file(&self, file: FileId) -> Result<(), Fault> {
        let connection = open::for_checkpoint(&self.path(file), self.keys(file)?.raw()?)?;
        let _alone = lock(&self.checkpointing);
        let (busy, pages): (i64, i64) = connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(|error| Fault::new(format!("make {} durable", self.path(file).display()), error))?;
        if busy != 0 {
            return Err(Fault::found(format!("checkpoint of {file} found another checkpoint running")));
        }
        if pages > LOG_PAGES_MAX {
            lock(&self.overgrown).insert(file);
        }
        Ok(())
    }
}
