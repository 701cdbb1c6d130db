//! The set of files: where they are, which exist, and who may touch them when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use rusqlite::Connection;
use zeroize::Zeroizing;

use super::{
    awaited::Arrivals,
    checkpoint::Checkpointing,
    counters::Counters,
    destroy,
    durable::{read_if_present, remove_folder, write_secret},
    epochs::{Epoch, Epochs},
    filekeys::{FileKeys, SealedEntry},
    keyring::{Keyring, WrappedKey},
    marks::Marks,
    quarantine::Quarantine,
    readers::Readers,
    shares::Shares,
    snapshot,
    standings::{Standing, Standings},
    writer::{Writers, peek},
};
use crate::kernel::{Fault, FileId};

/// All files of this node. Cheap to share; every method may block.
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) keyring: Arc<Keyring>,
    /// Held shared by whoever has a file open for a moment, exclusively while a snapshot is installed.
    pub(super) gate: RwLock<()>,
    pub(super) marks: Mutex<Marks>,
    pub(super) dirty: Mutex<BTreeSet<FileId>>,
    /// Files whose write-ahead log has grown: the writer empties it at its next commit.
    pub(super) overgrown: Mutex<BTreeSet<FileId>>,
    pub(super) checkpointing: Checkpointing,
    /// Write connections that are open: to be known without waiting for apply.
    pub(super) writing: Arc<AtomicUsize>,
    /// The system file's, as committed.
    pub(super) level: AtomicU32,
    pub(super) readers: Readers,
    pub(super) writers: Shares,
    /// The keys of files used lately.
    pub(super) keys: Mutex<BTreeMap<FileId, Arc<FileKeys>>>,
    /// Files whose pages are not yet under their newest key.
    pub(super) rekeying: Mutex<BTreeSet<FileId>>,
    /// Every key of a file is wrapped under this generation or a newer one.
    pub(super) rewrapped: AtomicU32,
    pub(super) standings: Mutex<Standings>,
    pub(super) quarantine: Quarantine,
    pub(super) arrivals: Arrivals,
    pub(super) counters: Counters,
    pub(super) epochs: Epochs,
    /// Those who wait for the exclusive gate: who holds it long makes room.
    pub(super) waiting_alone: AtomicUsize,
}

/// Write connections that stay open, unless whoever opens the store says otherwise.
const OPEN_MAX: usize = 64;
/// Each takes about 1 KiB.
const KEYS_MAX: usize = 4096;

impl Store {
    /// Where its files lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the store in `root`, completing a snapshot installation that a crash cut short.
    pub fn open(root: &Path, keyring: Arc<Keyring>) -> Result<Self, Fault> {
        let tenants = root.join("tenants");
        fs::create_dir_all(&tenants)
            .map_err(|error| Fault::new(format!("create {}", tenants.display()), error))?;
        snapshot::complete(root)?;
        let destroyed = destroy::complete(root)?;
        for folder in [TO_SEND, TO_TAKE] {
            clear(&root.join(folder))?;
        }
        let marks = Marks::load(root)?;
        let store = Self {
            root: root.to_owned(),
            keyring,
            gate: RwLock::new(()),
            arrivals: Arrivals::load(root, &marks)?,
            marks: Mutex::new(marks),
            dirty: Mutex::default(),
            overgrown: Mutex::default(),
            checkpointing: Checkpointing::default(),
            standings: Mutex::default(),
            quarantine: Quarantine::load(root)?,
            counters: Counters::default(),
            epochs: Epochs::default(),
            waiting_alone: AtomicUsize::new(0),
            writing: Arc::default(),
            level: AtomicU32::new(0),
            readers: Readers::default(),
            writers: Shares::new(1, OPEN_MAX),
            keys: Mutex::default(),
            rekeying: Mutex::default(),
            rewrapped: AtomicU32::new(0),
        };
        for file in destroyed {
            lock(&store.marks).remove(file);
        }
        store.find_rekeying()?;
        store.find_unmarked()?;
        store.learn_level()?;
        Ok(store)
    }

    /// Where copies of files for other nodes are made; empty at the start.
    pub fn to_send(&self) -> PathBuf {
        self.root.join(TO_SEND)
    }

    /// Where copies from other nodes arrive; empty at the start.
    pub fn to_take(&self) -> PathBuf {
        self.root.join(TO_TAKE)
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Divides the files into as many shares as there will be threads that write, which keep `open_max` of them open.
    #[must_use]
    pub fn in_shares(mut self, shares: usize, open_max: usize) -> Self {
        self.writers = Shares::new(shares, open_max);
        self
    }

    /// How many shares there are.
    pub fn shares(&self) -> usize {
        self.writers.count()
    }

    /// Which share `file` belongs to while this process lives.
    pub fn share_of(&self, file: FileId) -> usize {
        self.writers.of(file)
    }

    /// The keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Whether `file` exists, as far as entries have been applied here; it may not be here yet.
    pub fn exists(&self, file: FileId) -> bool {
        lock(&self.marks).get(file).is_some() || self.is_awaited(file)
    }

    /// Index of the last entry applied to `file`; 0 when it does not exist.
    pub fn mark(&self, file: FileId) -> u64 {
        lock(&self.marks).get(file).unwrap_or(0)
    }

    /// When who may do what in `file` changed last. Taken before reading what that entry wrote, it says later whether
    /// what was read still holds.
    pub fn epoch(&self, file: FileId) -> Epoch {
        self.epochs.of(file)
    }

    /// The entry at `index` has changed who may do what in `file`.
    pub fn touch_access(&self, file: FileId, index: u64) {
        self.epochs.touch(file, index);
    }

    /// Every file that is here, in order.
    pub fn list(&self) -> Vec<FileId> {
        lock(&self.marks).list().map(|(file, _)| file).collect()
    }

    /// Connections to files that are kept open, whether or not they are in use.
    pub fn open_connections(&self) -> usize {
        self.writing.load(Ordering::Relaxed) + self.readers.idle()
    }

    /// The files that may have effects to send to other files.
    pub fn sending(&self) -> BTreeSet<FileId> {
        lock(&self.marks).sending().clone()
    }

    /// Whether `file` may have effects to send to other files.
    pub fn is_sending(&self, file: FileId) -> bool {
        lock(&self.marks).sending().contains(&file)
    }

    /// Where `file` stood at the entry `mark`, if it is remembered.
    pub fn stood(&self, file: FileId, mark: u64) -> Option<Standing> {
        lock(&self.standings).at(file, mark)
    }

    /// Files that changed since this process started, each with standings that are worth comparing.
    pub fn changed(&self) -> Vec<(FileId, Vec<Standing>)> {
        lock(&self.standings).changed()
    }

    /// Runs queries on a consistent view of `file`; `None` when it does not exist. A fault that is
    /// [`Quarantined`](super::Quarantined) when this node must not answer from it, or [`Awaited`](super::Awaited) when it
    /// is not here yet.
    pub fn read<T>(
        &self,
        file: FileId,
        queries: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.exists(file) {
            return Ok(None);
        }
        self.require_here(file)?;
        self.require_sound(file)?;
        let answer = self.readers.with(self, file, queries);
        // It may have been found out while it was read.
        self.require_sound(file)?;
        if let Err(fault) = &answer
            && self.set_aside_if_damaged(file, fault)?
        {
            self.require_sound(file)?;
        }
        answer.map(Some)
    }

    /// Lends the write connections of the share of `file`: one caller at a time.
    pub fn write<T>(
        &self,
        file: FileId,
        apply: impl FnOnce(&Self, &mut Writers) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.write_share(self.share_of(file), apply)
    }

    /// Lends the write connections of a share, below [`Store::shares`].
    pub fn write_share<T>(&self, share: usize, apply: impl FnOnce(&Self, &mut Writers) -> T) -> T {
        apply(self, &mut lock(self.writers.get(share)))
    }

    /// The shares that have something to commit, and how many files.
    pub fn begun(&self) -> Vec<(usize, usize)> {
        let begun = self.writers.iter().enumerate().map(|(share, writers)| (share, lock(writers).begun()));
        begun.filter(|(_, files)| *files > 0).collect()
    }

    /// Where `file` lies.
    pub(super) fn path(&self, file: FileId) -> PathBuf {
        self.root.join(file_name(file))
    }

    /// The keys of a file, if it has any here.
    pub(super) fn find_keys(&self, file: FileId) -> Result<Option<Arc<FileKeys>>, Fault> {
        if let Some(keys) = lock(&self.keys).get(&file) {
            return Ok(Some(Arc::clone(keys)));
        }
        let Some(text) = self.key_text(file)? else { return Ok(None) };
        let keys = Arc::new(FileKeys::read(&self.keyring, file, &text)?);
        let mut known = lock(&self.keys);
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        known.insert(file, Arc::clone(&keys));
        Ok(Some(keys))
    }

    /// The keys of an existing file.
    pub(super) fn keys(&self, file: FileId) -> Result<Arc<FileKeys>, Fault> {
        let missing = || Fault::found(format!("{}: its key file is missing", self.path(file).display()));
        self.find_keys(file)?.ok_or_else(missing)
    }

    /// The lines of every key that `file` has and had, as far as `known` lists those it had; wrapped under the active
    /// cluster key. `None` when there is no such file.
    pub fn key_lines(&self, file: FileId, known: &str) -> Result<Option<String>, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.exists(file) {
            return Ok(None);
        }
        let missing = || Fault::found(format!("{}: its key file is missing", self.path(file).display()));
        let text = self.key_text(file)?.ok_or_else(missing)?;
        FileKeys::read(&self.keyring, file, &text)?.all_lines(&self.keyring, known).map(Some)
    }

    /// What the key file of `file` says.
    pub(super) fn key_text(&self, file: FileId) -> Result<Option<String>, Fault> {
        let bytes = read_if_present(&self.key_path(file))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Takes in the key that the entry at `since` brings for a file that it creates. After a crash it is there already.
    pub(super) fn take_first_key(&self, file: FileId, since: u64, key: &WrappedKey) -> Result<(), Fault> {
        if self.find_keys(file)?.is_none() {
            let mut keys = FileKeys::first(&self.keyring, file, since, key)?;
            keys.rewrap(&self.keyring)?;
            write_secret(&self.key_path(file), keys.text().as_bytes())?;
        }
        Ok(())
    }

    /// Lays the keys down of a file that an entry will create, from elsewhere than that entry.
    pub fn lay_keys(&self, file: FileId, text: &str) -> Result<(), Fault> {
        if self.find_keys(file)?.is_none() {
            FileKeys::read(&self.keyring, file, text)?;
            write_secret(&self.key_path(file), text.as_bytes())?;
        }
        Ok(())
    }

    /// Whether every key of a file is wrapped under the active cluster key.
    pub fn is_rewrapped(&self) -> bool {
        self.rewrapped.load(Ordering::SeqCst) >= self.keyring.active()
    }

    /// Wraps every key of a file under the active cluster key.
    pub fn rewrap(&self) -> Result<(), Fault> {
        let active = self.keyring.active();
        for file in self.list() {
            let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let Some(text) = self.key_text(file)? else { continue };
            let mut keys = FileKeys::read(&self.keyring, file, &text)?;
            if keys.rewrap(&self.keyring)? {
                write_secret(&self.key_path(file), keys.text().as_bytes())?;
                lock(&self.keys).remove(&file);
            }
        }
        self.rewrapped.store(active, Ordering::SeqCst);
        Ok(())
    }

    /// Seals an entry about `file` for the log; `None` when this node has no key of it and none is brought.
    pub fn seal_entry(
        &self,
        file: FileId,
        brings: Option<&WrappedKey>,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, Fault> {
        let salt = self.keyring.draw()?;
        match (self.find_keys(file)?, brings) {
            (Some(keys), _) => keys.seal(&salt, brings, plain).map(Some),
            (None, Some(key)) => {
                FileKeys::first(&self.keyring, file, 0, key)?.seal(&salt, brings, plain).map(Some)
            }
            (None, None) => {
                // Not in the middle of an installation, which takes a file's key before it says that the file is gone.
                let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
                if !self.exists(file) {
                    return Ok(None);
                }
                self.keys(file)?.seal(&salt, None, plain).map(Some)
            }
        }
    }

    /// Opens an entry of the log; its file exists. `None` when it is not sealed under the key that was its file's newest
    /// at `index`: it comes from a node that had not heard of that key, and does not count, on any node.
    pub fn open_entry(
        &self,
        entry: &SealedEntry<'_>,
        index: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        let keys = self.keys(entry.file)?;
        if keys.number_at(index) != entry.number() {
            return Ok(None);
        }
        keys.open(entry).map(Some)
    }

    pub(super) fn key_path(&self, file: FileId) -> PathBuf {
        self.path(file).with_extension("key")
    }

    /// Forgets every connection that reads, and every key. Only under the exclusive gate.
    pub(super) fn forget_open(&self) {
        self.readers.close_all();
        lock(&self.keys).clear();
        self.rewrapped.store(0, Ordering::SeqCst);
    }

    /// Files created after the last checkpoint have no mark on record: their own says it.
    fn find_unmarked(&self) -> Result<(), Fault> {
        for file in snapshot::files_on_disk(&self.root)? {
            if self.exists(file) {
                continue;
            }
            match peek(self, file) {
                Ok(Some(state)) => lock(&self.marks).set(file, state.mark),
                Ok(None) => {}
                Err(fault) if self.skips_from_here(file, &fault)? => lock(&self.marks).set(file, 0),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

const TO_SEND: &str = "copies-out";
const TO_TAKE: &str = "copies-in";

fn clear(folder: &Path) -> Result<(), Fault> {
    remove_folder(folder)?;
    fs::create_dir_all(folder.join("tenants"))
        .map_err(|error| Fault::new(format!("make {}", folder.display()), error))
}

/// `system.db` or `tenants/<id>.db`.
pub(super) fn file_name(file: FileId) -> String {
    if file.is_system() { "system.db".to_owned() } else { format!("tenants/{file}.db") }
}

/// A poisoned lock means a panic elsewhere, which halts the node anyway; the data it guards is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
