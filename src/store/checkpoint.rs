//! Checkpoints: everything applied so far becomes durable, while apply goes on.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, PoisonError},
};

use rusqlite::Connection;

use super::{
    durable::sync_folder,
    files::{Store, lock},
    marks::Marks,
    open,
};
use crate::kernel::{Fault, FileId};

/// Pages of write-ahead log (16 MiB) beyond which the writer is asked to start it afresh.
const LOG_PAGES_MAX: i64 = 4096;

/// One checkpoint of a file at a time: two would make the second report busy and sync nothing. Files share a few locks.
#[derive(Default)]
pub(super) struct Checkpointing {
    many: [Mutex<()>; 32],
    last: Mutex<()>,
}

impl Checkpointing {
    pub(super) fn of(&self, file: FileId) -> &Mutex<()> {
        // The end of an id is random.
        let last = file.0.as_bytes().last().copied().unwrap_or_default();
        self.many.get(usize::from(last % 33)).unwrap_or(&self.last)
    }
}

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
        for file in dirty {
            self.checkpoint_sound(file)?;
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
                // The log of what is dirty goes with the next checkpoint.
                if !lock(&self.dirty).contains(&file) {
                    self.checkpoint_sound(file)?;
                }
            }
        }
        Ok(())
    }

    /// Unless it was destroyed since it was written: then nothing is left to do. One that is damaged is set aside.
    fn checkpoint_sound(&self, file: FileId) -> Result<(), Fault> {
        if !self.exists(file) {
            return Ok(());
        }
        match self.checkpoint_file(file) {
            Err(fault) if !self.skips_from_here(file, &fault)? => Err(fault),
            _ => Ok(()),
        }
    }

    pub(super) fn checkpoint_file(&self, file: FileId) -> Result<(), Fault> {
        // In this order: the connection is closed before another checkpoint may begin, because the last to close makes one.
        let _alone = lock(self.checkpointing.of(file));
        let connection = open::for_checkpoint(&self.path(file), self.keys(file)?.raw()?)?;
        self.checkpoint_by(file, &connection)
    }

    /// A checkpoint by a connection that stays open. Only by who holds the lock of the file.
    pub(super) fn checkpoint_by(&self, file: FileId, connection: &Connection) -> Result<(), Fault> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::{
        kernel::{Millis, OrgId},
        store::{Keyring, LEVEL, Writers},
    };

    fn file(number: u128) -> FileId {
        OrgId(Uuid::from_u128(number))
    }

    /// One entry for each of `files`, in one batch.
    fn write(store: &Store, mark: u64, files: impl Iterator<Item = FileId>) {
        store.write_share(0, |store, writers: &mut Writers| {
            for file in files {
                let key = store.keyring().mint(file).unwrap();
                let writer = writers.begin(store, file, Some((mark, &key))).unwrap().unwrap();
                writer.raise(file, LEVEL).unwrap();
                writer.advance(mark, Millis(1));
            }
            writers.commit(store).unwrap();
        });
    }

    fn store(open_max: usize) -> (tempfile::TempDir, Store) {
        let place = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::from_raw(vec![1; 32]).unwrap());
        let store = Store::open(place.path(), keyring).unwrap().in_shares(1, open_max);
        (place, store)
    }

    #[test]
    fn a_file_that_nobody_writes_to_is_closed_and_leaves_no_log() {
        let (_place, store) = store(8);
        let log = |number| store.path(file(number)).with_extension("db-wal").exists();
        write(&store, 1, [file(1), file(2)].into_iter());
        store.checkpoint().unwrap();
        store.close_idle().unwrap();
        assert_eq!(store.open_connections(), 2, "both were written since the last look");
        write(&store, 2, std::iter::once(file(2)));
        store.close_idle().unwrap();
        assert_eq!((store.open_connections(), log(1), log(2)), (1, false, true));
        // What is not durable yet keeps its log until the next checkpoint.
        store.close_idle().unwrap();
        assert_eq!((store.open_connections(), log(2)), (0, true));
        store.checkpoint().unwrap();
        assert!(!log(2));
    }

    #[test]
    fn more_files_than_may_stay_open_are_written_to_in_turns_and_most_stay_open() {
        let (_place, store) = store(20);
        write(&store, 1, (1..=22).map(file));
        assert_eq!(store.open_connections(), 20);
        let mut opened = 0;
        for mark in 2..=100 {
            for number in 1..=22 {
                let open = store.write_share(0, |_, writers| writers.is_open(file(number)));
                opened += usize::from(!open);
                write(&store, mark, std::iter::once(file(number)));
            }
        }
        assert!(opened < 99 * 22 / 2, "{opened} of {} writes opened a file", 99 * 22);
        store.checkpoint().unwrap();
        assert!((1..=22).all(|number| store.mark(file(number)) == 100));
    }
}
