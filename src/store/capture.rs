//! A file's pages as they lie on disk, sealed: what is copied to where nobody holds its key.
//!
//! Between checkpoints nobody writes to the file itself, and a checkpoint ends at a commit: so while none runs, the
//! pages are those of one commit, whichever entries the write-ahead log holds beside them. A page that did not change
//! is the same bytes as before; one that was written is not, since each time it is sealed anew.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::PoisonError,
};

use super::{
    filekeys::FileKeys,
    files::{Store, lock},
    open,
    sum::Sum,
    writer::read_state,
};
use crate::kernel::{Fault, FileId, Millis};

/// Read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Index of the last entry in it.
    pub mark: u64,
    /// The leader's stamp of that entry.
    pub at: Millis,
    /// The sum of its rows.
    pub sum: Sum,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// How many pages there are.
    pub pages: u32,
    /// Number of the data key that they are under.
    pub key: u32,
    /// The lines of the keys that the file had then: in a moment it may have that one no more.
    pub lines: String,
}

/// Whether pages are wanted, and then each of them, numbered from 1.
pub trait Pages {
    /// Asked once, with what there is; `false` when it is known already.
    fn begin(&mut self, captured: &Captured) -> Result<bool, Fault>;

    /// The next page.
    fn page(&mut self, number: u32, bytes: &[u8]) -> Result<(), Fault>;
}

impl Store {
    /// Makes what was applied to `file` durable and gives out its pages; `None` when it does not exist, is not here or in quarantine.
    /// Writers go on; a checkpoint of the file waits.
    pub fn capture(&self, file: FileId, to: &mut dyn Pages) -> Result<Option<Captured>, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.exists(file) || self.is_awaited(file) || self.is_quarantined(file) {
            return Ok(None);
        }
        let captured = self.capture_sound(file, to);
        match captured {
            Err(fault) if self.set_aside_if_damaged(file, &fault)? => Ok(None),
            captured => captured.map(Some),
        }
    }

    fn capture_sound(&self, file: FileId, to: &mut dyn Pages) -> Result<Captured, Fault> {
        let path = self.path(file);
        let keys = self.keys(file)?;
        let _still = lock(self.checkpointing.of(file));
        // Open until the end, and closed before the lock goes: the last to close makes a checkpoint of its own.
        let keeper = open::for_checkpoint(&path, keys.raw()?)?;
        self.checkpoint_by(file, &keeper)?;
        let captured = look(&path, keys.raw()?, &keys)?;
        if to.begin(&captured)? {
            give_out(&path, &captured, to)?;
        }
        Ok(captured)
    }
}

/// What the file says of itself, without its write-ahead log.
pub(super) fn look(path: &Path, key: &[u8; 32], keys: &FileKeys) -> Result<Captured, Fault> {
    let connection = open::without_log(path, key)?;
    let state = read_state(&connection)?;
    let ask = |pragma: &str| connection.query_row(pragma, [], |row| row.get(0));
    let (page_bytes, pages) = (ask("PRAGMA page_size")?, ask("PRAGMA page_count")?);
    let (key, lines) = (keys.on_disk(), keys.text());
    Ok(Captured { mark: state.mark, at: state.at, sum: state.sum, page_bytes, pages, key, lines })
}

/// Gives out every page of a file.
pub(super) fn give_out(path: &Path, captured: &Captured, to: &mut dyn Pages) -> Result<(), Fault> {
    let failed = |error| Fault::new(format!("read {}", path.display()), error);
    let mut source = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    let mut page = vec![0; usize::try_from(captured.page_bytes).unwrap_or_default()];
    for number in 1..=captured.pages {
        source.read_exact(&mut page).map_err(failed)?;
        to.page(number, &page)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::{
        fs,
        sync::{Arc, atomic::AtomicBool, atomic::Ordering},
        thread,
    };

    use sqlite::Access;
    use uuid::Uuid;

    use super::*;
    use crate::{
        kernel::OrgId,
        store::{Keyring, LEVEL, WrappedKey},
    };

    const FILE: FileId = OrgId(Uuid::from_u128(7));

    #[derive(Default)]
    struct Copy(Vec<Vec<u8>>);

    impl Pages for Copy {
        fn begin(&mut self, _: &Captured) -> Result<bool, Fault> {
            self.0.clear();
            Ok(true)
        }

        fn page(&mut self, number: u32, bytes: &[u8]) -> Result<(), Fault> {
            assert_eq!(usize::try_from(number).unwrap(), self.0.len() + 1);
            self.0.push(bytes.to_vec());
            Ok(())
        }
    }

    fn write(store: &Store, mark: u64, key: &WrappedKey, rows: u64) {
        let apply = |store: &Store, writers: &mut crate::store::Writers| {
            let writer = writers.begin(store, FILE, Some((1, key)))?.unwrap();
            writer.raise(FILE, LEVEL)?;
            writer.connection().execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER, v BLOB) STRICT")?;
            for _ in 0..rows {
                writer
                    .connection()
                    .execute("INSERT INTO t VALUES (?1, zeroblob(500))", [mark.cast_signed()])?;
            }
            writer.advance(mark, Millis(mark.cast_signed()));
            writers.commit(store)
        };
        store.write(FILE, apply).unwrap();
    }

    /// Opens what was captured as a file of its own, and counts: rows, and those of the newest entry.
    fn count(copy: &Copy, key: &[u8; 32], captured: &Captured) -> (i64, i64) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("copy.db");
        fs::write(&path, copy.0.concat()).unwrap();
        let open = sqlite::open(&path, key, Access::Write).unwrap();
        let whole: String = open.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        assert_eq!(read_state(&open).unwrap().mark, captured.mark);
        open.query_row("SELECT count(*), max(n) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    fn store(place: &Path) -> (Arc<Store>, WrappedKey, [u8; 32]) {
        let store = Store::open(place, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap();
        let key = store.keyring().mint(FILE).unwrap();
        let raw = *store.keyring().unwrap_key(FILE, &key).unwrap();
        (Arc::new(store), key, raw)
    }

    #[test]
    fn what_is_captured_is_the_file_at_its_mark_and_unchanged_pages_stay_the_same_bytes() {
        let place = tempfile::tempdir().unwrap();
        // SQLite takes the name as a URI: signs that mean something there are part of the name all the same.
        let (store, key, raw) = store(&place.path().join("a b?c#d%41"));
        let (mut first, mut second) = (Copy::default(), Copy::default());
        write(&store, 1, &key, 400);
        let captured = store.capture(FILE, &mut first).unwrap().unwrap();
        assert_eq!((captured.mark, captured.pages as usize), (1, first.0.len()));
        assert_eq!(count(&first, &raw, &captured), (400, 1));
        write(&store, 2, &key, 1);
        let captured = store.capture(FILE, &mut second).unwrap().unwrap();
        assert_eq!(count(&second, &raw, &captured), (401, 2));
        let same = first.0.iter().zip(&second.0).filter(|(one, other)| one == other).count();
        assert!(same > 40 && first.0.len() - same < 10, "{same} of {} pages are the same", first.0.len());
        assert!(store.capture(OrgId(Uuid::from_u128(8)), &mut first).unwrap().is_none());
    }

    #[test]
    fn an_old_reader_makes_the_copy_older_and_never_torn() {
        let place = tempfile::tempdir().unwrap();
        let (store, key, raw) = store(place.path());
        write(&store, 1, &key, 100);
        store.checkpoint().unwrap();
        let mut copy = Copy::default();
        store
            .read(FILE, |tx| {
                tx.query_row("SELECT count(*) FROM t", [], |_| Ok(()))?;
                write(&store, 2, &key, 100);
                let captured = store.capture(FILE, &mut copy)?.unwrap();
                assert_eq!((captured.mark, count(&copy, &raw, &captured)), (1, (100, 1)));
                Ok(())
            })
            .unwrap();
        let captured = store.capture(FILE, &mut copy).unwrap().unwrap();
        assert_eq!((captured.mark, count(&copy, &raw, &captured)), (2, (200, 2)));
    }

    #[test]
    fn copies_made_while_others_write_and_make_checkpoints_are_each_of_one_commit() {
        let place = tempfile::tempdir().unwrap();
        let (store, key, raw) = store(place.path());
        write(&store, 1, &key, 20);
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (store, key, done) = (Arc::clone(&store), key.clone(), Arc::clone(&done));
            thread::spawn(move || {
                for mark in 2.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    write(&store, mark, &key, 20);
                }
            })
        };
        let keeper = {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    store.checkpoint().unwrap();
                    store.close_idle().unwrap();
                }
            })
        };
        let mut copy = Copy::default();
        let mut newest = 0;
        while newest < 60 {
            let captured = store.capture(FILE, &mut copy).unwrap().unwrap();
            let mark = captured.mark.cast_signed();
            assert_eq!(count(&copy, &raw, &captured), (mark * 20, mark));
            newest = captured.mark;
        }
        done.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        keeper.join().unwrap();
    }
}
