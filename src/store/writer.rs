//! Write connections: used by apply alone, one transaction per file and batch.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rusqlite::{Connection, OptionalExtension, config::DbConfig};

use super::{
    files::{Store, lock},
    keyring::WrappedKey,
    migrate, open,
    quarantine::Lost,
    standings::Standing,
    sum::{Sum, scan},
};
use crate::kernel::{Fault, FileId, Millis};

/// Where a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileState {
    /// Index of the last entry applied.
    pub mark: u64,
    /// That entry's stamp; never falls.
    pub at: Millis,
    /// Migrations that have run.
    pub level: u32,
    /// The sum of the rows after that entry.
    pub sum: Sum,
}

/// One file that apply writes to.
pub struct Writer {
    connection: Connection,
    state: FileState,
    sums: Arc<Mutex<Sums>>,
    /// Where the file stood after each entry of the open transaction.
    passed: Vec<Standing>,
    /// What became known in this transaction: whether it has effects to send to other files.
    sending: Option<bool>,
    begun: bool,
    /// Not used since idle ones were last looked for.
    idle: bool,
    _counted: Counted,
}

/// The sum of the rows as they are now, and as they were before the entry that is being applied.
#[derive(Default)]
struct Sums {
    now: Sum,
    before: Sum,
}

/// Counts an open connection while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn among(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The write connections that are open to files of one share. Each costs 0.25 MiB (measured) and three descriptors;
/// a cold file is opened again in about a millisecond.
pub struct Writers {
    open: BTreeMap<FileId, Writer>,
    /// Those with a transaction.
    begun: usize,
    /// Transactions begun so far.
    clock: u64,
    open_max: usize,
}

impl Writers {
    /// At most `open_max` stay open between two commits.
    pub(super) fn new(open_max: usize) -> Self {
        Self { open: BTreeMap::new(), begun: 0, clock: 0, open_max }
    }

    /// How many files have a transaction to commit.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// The file with its transaction begun; `None` when it does not exist and the entry brings no key to create it:
    /// its index and that key.
    pub fn begin(
        &mut self,
        store: &Store,
        file: FileId,
        create: Option<(u64, &WrappedKey)>,
    ) -> Result<Option<&mut Writer>, Fault> {
        let writer = match self.open.entry(file) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                // It would be created, empty.
                store.require_here(file)?;
                if !store.exists(file) {
                    let Some((since, key)) = create else { return Ok(None) };
                    store.take_first_key(file, since, key)?;
                }
                place.insert(Writer::open(store, file)?)
            }
        };
        writer.idle = false;
        if !writer.begun {
            writer.execute("BEGIN IMMEDIATE")?;
            writer.begun = true;
            self.begun += 1;
            self.clock += 1;
        }
        Ok(Some(writer))
    }

    /// Commits every begun transaction, then closes files that are too many.
    pub fn commit(&mut self, store: &Store) -> Result<(), Fault> {
        let mut damaged = Vec::new();
        for (file, writer) in self.open.iter_mut().filter(|(_, writer)| writer.begun) {
            if let Err(fault) = writer.save_state().and_then(|()| writer.execute("COMMIT")) {
                if !store.skips_from_here(*file, &fault)? {
                    return Err(Fault::new(format!("write to {}", store.path(*file).display()), fault));
                }
                damaged.push(*file);
                continue;
            }
            writer.begun = false;
            self.begun -= 1;
            // In this order: a checkpoint that sees the mark must also see that the file is not yet durable.
            lock(&store.standings).note(*file, writer.passed.drain(..));
            lock(&store.dirty).insert(*file);
            let mut marks = lock(&store.marks);
            marks.set(*file, writer.state.mark);
            marks.at_level(*file, writer.state.level);
            if let Some(sending) = writer.sending.take() {
                marks.set_sending(*file, sending);
            }
            drop(marks);
            if file.is_system() {
                store.level.store(writer.state.level, Ordering::Release);
            }
            if lock(&store.overgrown).remove(file) {
                writer.empty_log(store, *file)?;
            }
        }
        for file in damaged {
            self.close(file);
        }
        self.shrink();
        Ok(())
    }

    /// Destroys `file` and its keys; what was not committed of it goes with it.
    pub fn destroy(&mut self, store: &Store, file: FileId) -> Result<(), Fault> {
        self.close(file);
        store.destroy(file)
    }

    /// Closes one file; what was not committed is taken back.
    pub fn close(&mut self, file: FileId) {
        if self.open.remove(&file).is_some_and(|writer| writer.begun) {
            self.begun -= 1;
        }
    }

    /// Closes the files that were not written since the last call; answers which.
    pub(super) fn close_idle(&mut self) -> Vec<FileId> {
        let idle = |(file, writer): (&FileId, &mut Writer)| {
            (!writer.begun && std::mem::replace(&mut writer.idle, true)).then_some(*file)
        };
        let closed: Vec<FileId> = self.open.iter_mut().filter_map(idle).collect();
        for file in &closed {
            self.close(*file);
        }
        closed
    }

    #[cfg(test)]
    pub(super) fn is_open(&self, file: FileId) -> bool {
        self.open.contains_key(&file)
    }

    /// Closes every file; what was not committed is taken back.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
        self.begun = 0;
    }

    /// Any of them goes: were it the one least used, then a few files more than stay open, written in turns, would all
    /// be opened and closed each time.
    fn shrink(&mut self) {
        while self.open.len() > self.open_max {
            let any = usize::try_from(self.clock).unwrap_or_default() % self.open.len();
            let Some(file) = self.open.keys().nth(any).copied() else { return };
            self.open.remove(&file);
        }
    }
}

/// With the store: what a planned stop leaves on disk are files without logs.
impl Drop for Writers {
    fn drop(&mut self) {
        for writer in self.open.values() {
            // Without effect is without harm: the next start reads the log.
            let _ = writer.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

impl Writer {
    fn open(store: &Store, file: FileId) -> Result<Self, Fault> {
        let connection = open::for_apply(&store.path(file), store.keys(file)?.raw()?)?;
        let state = read_state(&connection)?;
        let marked = store.mark(file);
        if state.mark < marked {
            return Err(Fault::new(
                format!(
                    "{} stands at entry {}, but entry {marked} was applied to it",
                    store.path(file).display(),
                    state.mark
                ),
                Lost,
            ));
        }
        if state.mark > marked {
            // Written after the record of the marks: what it did since is not on it.
            lock(&store.marks).set_sending(file, true);
        }
        Self::over(store, connection, state)
    }

    /// A writer of a file of this store's that lies elsewhere, with its transaction begun.
    pub(super) fn elsewhere(store: &Store, connection: Connection) -> Result<Self, Fault> {
        let state = read_state(&connection)?;
        let mut writer = Self::over(store, connection, state)?;
        writer.execute("BEGIN IMMEDIATE")?;
        writer.begun = true;
        Ok(writer)
    }

    fn over(store: &Store, connection: Connection, state: FileState) -> Result<Self, Fault> {
        let sums = Arc::new(Mutex::new(Sums { now: state.sum, before: state.sum }));
        let (followed, mut buffer) = (Arc::clone(&sums), Vec::new());
        let follow = move |change: &sqlite::Change<'_>| lock(&followed).now.follow(change, &mut buffer);
        sqlite::watch(&connection, Box::new(follow))?;
        Ok(Self {
            connection,
            state,
            sums,
            passed: Vec::new(),
            sending: None,
            begun: false,
            idle: false,
            _counted: Counted::among(&store.writing),
        })
    }

    /// Takes a file that lies elsewhere out of the history that it comes from: any entry comes after it.
    pub(super) fn begin_anew(&mut self) {
        self.state.mark = 1;
        self.state.at = Millis(0);
    }

    /// Ends the transaction of a file that lies elsewhere, and leaves it without a write-ahead log; where it stands.
    pub(super) fn finish(mut self) -> Result<FileState, Fault> {
        self.state.sum = lock(&self.sums).now;
        self.save_state()?;
        self.execute("COMMIT")?;
        // A reader in the way is said in a row, not by an error.
        let busy: i64 = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(Fault::found("somebody has a restored file open"));
        }
        Ok(self.state)
    }

    /// The connection, inside the transaction.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Where the file stands inside the transaction.
    pub fn state(&self) -> FileState {
        self.state
    }

    /// Says whether the file has effects to send to other files, inside the transaction.
    pub fn set_sending(&mut self, sending: bool) {
        self.sending = Some(sending);
    }

    /// Brings the file to `level` if it is behind.
    pub fn raise(&mut self, file: FileId, level: u32) -> Result<(), Fault> {
        if level > self.state.level {
            migrate::raise(&self.connection, file, self.state.level, level)?;
            if self.state.level > 0 {
                // A column that comes with a value changes rows that no statement touches.
                lock(&self.sums).now = scan(&self.connection, |_| Ok(()))?;
            }
            self.state.level = level;
        }
        Ok(())
    }

    /// Moves the watermark; written when the batch commits.
    ///
    /// # Panics
    /// When entries do not come in index order, which would be a bug beneath.
    pub fn advance(&mut self, mark: u64, at: Millis) {
        assert!(mark > self.state.mark, "entries reach a file in index order");
        self.state.mark = mark;
        self.state.at = self.state.at.max(at);
        self.state.sum = lock(&self.sums).now;
        self.passed.push(Standing { mark, sum: self.state.sum });
    }

    /// Starts one entry inside the batch's transaction.
    pub fn savepoint(&self) -> Result<(), Fault> {
        let mut sums = lock(&self.sums);
        sums.before = sums.now;
        drop(sums);
        self.execute("SAVEPOINT entry")
    }

    /// Keeps what the entry wrote.
    pub fn release(&self) -> Result<(), Fault> {
        self.execute("RELEASE entry")
    }

    /// Takes back what the entry wrote.
    pub fn rollback(&self) -> Result<(), Fault> {
        self.execute("ROLLBACK TO entry")?;
        let mut sums = lock(&self.sums);
        sums.now = sums.before;
        drop(sums);
        self.execute("RELEASE entry")
    }

    fn execute(&self, sql: &str) -> Result<(), Fault> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(|error| Fault::new(sql, error))
    }

    fn save_state(&self) -> Result<(), Fault> {
        let FileState { mark, at, level, .. } = self.state;
        let mark = i64::try_from(mark).map_err(|error| Fault::new("store a mark", error))?;
        let sum = lock(&self.sums).now.to_bytes();
        self.connection.prepare_cached(UPSERT_STATE)?.execute((mark, at.0, level, sum))?;
        Ok(())
    }

    /// The background checkpoint has copied nearly all of the log; the rest is small, and then the log
    /// starts again from its beginning. A reader in the way only postpones it.
    fn empty_log(&self, store: &Store, file: FileId) -> Result<(), Fault> {
        let Ok(_alone) = store.checkpointing.of(file).try_lock() else { return Ok(()) };
        self.connection.busy_timeout(std::time::Duration::ZERO)?;
        let outcome = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(std::time::Duration::from_secs(5))?;
        match outcome {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
            other => Ok(other?),
        }
    }
}

pub(super) fn read_state(connection: &Connection) -> Result<FileState, Fault> {
    let exists: bool = connection.query_row(HAS_STATE, [], |row| row.get(0))?;
    if !exists {
        return Ok(FileState::default());
    }
    let state = connection
        .query_row(SELECT_STATE, [], |row| {
            let mark = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
            let sum = Sum::from_bytes(row.get(3)?);
            Ok(FileState { mark, at: Millis(row.get(1)?), level: row.get(2)?, sum })
        })
        .optional()?;
    Ok(state.unwrap_or_default())
}

/// Where a file stands that lies on disk; `None` when it was created and never committed to.
pub(super) fn peek(store: &Store, file: FileId) -> Result<Option<FileState>, Fault> {
    let state = Writer::open(store, file)?.state;
    Ok((state.mark > 0).then_some(state))
}

/// The mark a copy of a file carries.
pub(super) fn mark_of(connection: &Connection) -> Result<u64, Fault> {
    read_state(connection).map(|state| state.mark)
}

/// Where a file stands, inside a read transaction.
pub(super) fn standing_of(connection: &Connection) -> Result<Standing, Fault> {
    read_state(connection).map(|state| Standing { mark: state.mark, sum: state.sum })
}

const HAS_STATE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'spine_state')";
const SELECT_STATE: &str = "SELECT mark, at_ms, level, sum FROM spine_state WHERE one = 1";
const UPSERT_STATE: &str = "INSERT INTO spine_state (one, mark, at_ms, level, sum) VALUES (1, ?1, ?2, ?3, ?4)
    ON CONFLICT (one) DO UPDATE
    SET mark = excluded.mark, at_ms = excluded.at_ms, level = excluded.level, sum = excluded.sum";
