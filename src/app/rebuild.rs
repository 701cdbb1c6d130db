//! A store made from a backup: images are fetched and laid down, and the entries after them applied, as after a crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use raft::{Entry, Later, Machine};
use tokio::task::spawn_blocking;

use super::{
    machine::FileMachine,
    spool::{Spool, Spooling},
};
use crate::{
    features::backup::{
        formats::Image,
        restore::{Fetched, Plan, Source},
    },
    kernel::{Fault, FileId},
    store::{Keyring, Mark, Scrubbed, SealedEntry, Store, Sum, key_text, lay},
};

/// The folder of a store in which images lie that were fetched and not yet laid down.
const FETCHED: &str = "restoring";
/// Files fetched side by side.
const FETCHED_AT_ONCE: usize = 8;
/// Entries applied in one batch.
const BATCH: usize = 1024;

/// What is to be made, and where.
pub struct Rebuild<'a> {
    /// The history.
    pub source: &'a Source<'a>,
    /// The lines of the keys of its files.
    pub keys: &'a BTreeMap<FileId, String>,
    /// The keyring that opens them.
    pub keyring: Arc<Keyring>,
    /// To where, and from what.
    pub plan: &'a Plan,
    /// The files that are wanted; all of them when there is no list.
    pub only: Option<&'a BTreeSet<FileId>>,
    /// Where the entries after the images are.
    pub log: Log<'a>,
    /// The folder of the store, which holds nothing yet.
    pub root: &'a Path,
    /// Told how far it is.
    pub progress: &'a (dyn Fn(Far) + Sync),
}

/// Where the entries after the images are.
#[derive(Clone, Copy)]
pub enum Log<'a> {
    /// In the archive.
    Archive,
    /// In the archive. Wanted are the system file and those that have no image; what is of others is put aside.
    Aside(&'a Spooling),
    /// Put aside.
    Spooled(&'a Spool),
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Far {
    /// Files laid down, and how many there are.
    pub files: (usize, usize),
    /// Bytes of them, and how many there are.
    pub bytes: (u64, u64),
    /// Entries applied up to this index, and the last one.
    pub index: (u64, u64),
}

/// What was made.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Each file: its last entry, and the sum of its rows as they were read back.
    pub files: BTreeMap<FileId, (u64, Sum)>,
    /// Files whose keys are gone: they were erased later.
    pub erased: BTreeSet<FileId>,
    /// What was fetched.
    pub fetched: Fetched,
    /// No entry in it has a later stamp.
    pub newest_ms: u64,
    /// How long each part took.
    pub took: Took,
}

/// How long the parts of a restore took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Images were fetched and laid down.
    pub fetched: Duration,
    /// Entries were applied.
    pub applied: Duration,
    /// Every row was read back.
    pub read_back: Duration,
}

/// Removes what an attempt that was cut short laid down in a folder; images that it fetched whole lie apart, and stay.
pub fn undo_laid(root: &Path) -> Result<(), Fault> {
    let failed = |error| Fault::new(format!("remove what lies in {}", root.display()), error);
    if !root.exists() {
        return Ok(());
    }
    for item in fs::read_dir(root).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        if path.ends_with(FETCHED) {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(failed)?;
    }
    Ok(())
}

impl Rebuild<'_> {
    /// Makes the store, durably, and reads all of it back.
    pub async fn run(&self) -> Result<Rebuilt, String> {
        let mut rebuilt = Rebuilt { newest_ms: stamp(self.plan.catalogue.newest.0), ..Rebuilt::default() };
        let staged = self.root.join(FETCHED);
        let mut began = Instant::now();
        self.stage(&staged, &mut rebuilt).await?;
        rebuilt.took.fetched = lap(&mut began);
        let store = Store::open(self.root, Arc::clone(&self.keyring)).map_err(told)?;
        let store = Arc::new(store.in_shares(2, 256));
        self.fetch_replacements(&store).await?;
        self.replay(&store, &mut rebuilt).await?;
        rebuilt.took.applied = lap(&mut began);
        rebuilt.files = self.read_back(Arc::clone(&store)).await?;
        rebuilt.took.read_back = lap(&mut began);
        store.drop_replacements().map_err(told)?;
        let _ = fs::remove_dir_all(&staged);
        Ok(rebuilt)
    }

    fn wants(&self, file: FileId) -> bool {
        if let Log::Aside(_) = self.log {
            return file.is_system() || !self.plan.catalogue.files.contains_key(&file);
        }
        self.only.is_none_or(|only| only.contains(&file))
    }

    /// Fetches every image and lays it down. What an earlier attempt has fetched whole stays.
    async fn stage(&self, staged: &Path, rebuilt: &mut Rebuilt) -> Result<(), String> {
        let parts = staged.join("parts");
        for folder in [staged.join("tenants"), parts.clone()] {
            fs::create_dir_all(&folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
        }
        let (mut take, mut wanted) = (Vec::new(), Vec::new());
        for (file, image) in self.plan.catalogue.files.iter().filter(|(file, _)| self.wants(**file)) {
            let lines = self.keys.get(file);
            let Some(keys) = lines.and_then(|lines| key_text(lines, image.key, self.plan.index)) else {
                rebuilt.erased.insert(*file);
                continue;
            };
            let mark = Mark { file: *file, mark: image.mark, keys };
            wanted.push((*file, image, staged.join(mark.name())));
            take.push(mark);
        }
        let total = wanted.iter().map(|(_, image, _)| image.bytes()).sum();
        let mut far = Far { files: (0, wanted.len()), bytes: (0, total), index: (0, self.plan.index) };
        // Boxed: a stream of borrowing futures is not found to be `Send` otherwise.
        let mut fetching: Vec<Later<'_, Result<(u64, Fetched), String>>> = Vec::with_capacity(wanted.len());
        for (file, image, to) in wanted {
            fetching.push(Box::pin(self.fetch(file, image, &parts, to)));
        }
        let mut fetching = stream::iter(fetching).buffer_unordered(FETCHED_AT_ONCE);
        while let Some(done) = fetching.next().await {
            let (bytes, fetched) = done?;
            rebuilt.fetched.bytes += fetched.bytes;
            rebuilt.fetched.files += fetched.files;
            far.files.0 += 1;
            far.bytes.0 += bytes;
            (self.progress)(far);
        }
        let (root, staged) = (self.root.to_owned(), staged.to_owned());
        let laid = spawn_blocking(move || lay(&root, &staged, &take)).await;
        laid.map_err(|error| error.to_string())?.map_err(told)
    }

    /// A file appears under its name only when it is whole and synced.
    async fn fetch(
        &self,
        file: FileId,
        image: &Image,
        parts: &Path,
        to: PathBuf,
    ) -> Result<(u64, Fetched), String> {
        // Named by everything that says which image it is: the next attempt may be of another moment or history.
        let (of, Image { epoch, mark, key, .. }) = (self.source.lineage(), image);
        let whole = to.with_extension(format!("{of}.{epoch:08x}.{mark:016x}.{key}"));
        let bytes = image.bytes();
        let there = fs::metadata(&to).is_ok_and(|about| about.len() == bytes) && whole.exists();
        if there {
            return Ok((bytes, Fetched::default()));
        }
        let half = parts.join(format!("{file}.db"));
        for left in [&half, &to] {
            let _ = fs::remove_file(left);
        }
        let fetched = self.source.fetch(file, image, parts, &half).await?;
        let placed = fs::rename(&half, &to).and_then(|()| fs::write(&whole, ""));
        placed.map_err(|error| format!("place {}: {error}", to.display()))?;
        Ok((bytes, fetched))
    }

    /// Fetches what entries may put in the place of a file, to where apply looks for it: what is not there is missed by the
    /// entry that names it, if that is among those that are applied.
    async fn fetch_replacements(&self, store: &Store) -> Result<(), String> {
        // Without entries nothing is put in any place: then the bucket is not even asked.
        if let Log::Spooled(spool) = self.log
            && !self.only.into_iter().flatten().any(|file| spool.holds(*file))
        {
            return Ok(());
        }
        for found in self.source.replacements(self.plan.catalogue.newest).await? {
            if !self.wants(found.file) {
                continue;
            }
            let part = store.begin_replacement(found.file, found.id).map_err(told)?;
            match self.source.fetch_replacement(&found.key, &part).await {
                Ok(()) => store.place_replacement(found.file, found.id).map_err(told)?,
                Err(why) => tracing::warn!(why, "a file that was restored by itself cannot be read"),
            }
        }
        Ok(())
    }

    /// Applies what the archive holds after the images, up to the moment.
    async fn replay(&self, store: &Arc<Store>, rebuilt: &mut Rebuilt) -> Result<(), String> {
        let (machine, _) = FileMachine::new(Arc::clone(store)).map_err(told)?;
        let machine = Arc::new(machine);
        if let Log::Spooled(spool) = self.log {
            for file in self.only.into_iter().flatten() {
                replay_spooled(&machine, spool, *file).await?;
            }
        } else {
            self.replay_archive(store, &machine, rebuilt).await?;
        }
        let checkpoint = spawn_blocking(move || machine.checkpoint()).await;
        checkpoint.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())
    }

    async fn replay_archive(
        &self,
        store: &Store,
        machine: &Arc<FileMachine>,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), String> {
        let mut done = self.plan.catalogue.cut;
        let files = self.plan.catalogue.files.len();
        for segment in &self.plan.segments {
            let stretch = self.source.segment(*segment).await?;
            let mut entries = Vec::new();
            for entry in stretch
                .entries
                .into_iter()
                .filter(|entry| entry.index > done && entry.index <= self.plan.index)
            {
                rebuilt.newest_ms = rebuilt.newest_ms.max(entry.at_ms);
                if self.applies(store, &entry, rebuilt)? {
                    entries.push(entry);
                } else if let Log::Aside(aside) = self.log {
                    aside.push(&entry)?;
                }
            }
            done = stretch.last.min(self.plan.index);
            apply(machine, entries).await?;
            (self.progress)(Far { files: (files, files), index: (done, self.plan.index), ..Far::default() });
        }
        Ok(())
    }

    /// Whether an entry is about a file that is wanted and can be opened.
    fn applies(&self, store: &Store, entry: &Entry, rebuilt: &mut Rebuilt) -> Result<bool, String> {
        let sealed = SealedEntry::parse(&entry.body).ok_or_else(|| {
            format!("entry {} is of a form that this binary does not know; upgrade it", entry.index)
        })?;
        if !self.wants(sealed.file) || rebuilt.erased.contains(&sealed.file) {
            return Ok(false);
        }
        // It creates its file, under a key as it was wrapped then: what wrapped it may be gone since.
        let file = sealed.file;
        let gone = |key| self.keyring.unwrap_key(file, key).is_err();
        if !sealed.brings.as_ref().is_some_and(gone) || self.plan.catalogue.files.contains_key(&file) {
            return Ok(true);
        }
        // The vault has it wrapped anew, unless the file was erased.
        let Some(keys) = self.keys.get(&file).and_then(|lines| key_text(lines, 1, self.plan.index)) else {
            rebuilt.erased.insert(file);
            return Ok(false);
        };
        store.lay_keys(file, &keys).map_err(told)?;
        Ok(true)
    }

    /// Reads every row of every file, on every core: the sum must be the one on record.
    async fn read_back(&self, store: Arc<Store>) -> Result<BTreeMap<FileId, (u64, Sum)>, String> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut reading = stream::iter(store.list())
            .map(|file| {
                let store = Arc::clone(&store);
                spawn_blocking(move || (file, store.scrub(file, u64::MAX)))
            })
            .buffer_unordered(cores);
        let mut sound = BTreeMap::new();
        while let Some(read) = reading.next().await {
            let (file, scrubbed) = read.map_err(|error| error.to_string())?;
            match scrubbed.map_err(told)? {
                Scrubbed::Sound { standing, .. } => sound.insert(file, (standing.mark, standing.sum)),
                Scrubbed::Damaged | Scrubbed::Unknown => {
                    return Err(format!("file {file} is not what was written"));
                }
            };
        }
        Ok(sound)
    }
}

/// Applies what was put aside of one file.
async fn replay_spooled(machine: &Arc<FileMachine>, spool: &Spool, file: FileId) -> Result<(), String> {
    let mut done = 0;
    loop {
        let entries = spool.of(file, done, BATCH)?;
        if entries.is_empty() {
            return Ok(());
        }
        done += entries.len();
        apply(machine, entries).await?;
    }
}

async fn apply(machine: &Arc<FileMachine>, entries: Vec<Entry>) -> Result<(), String> {
    let machine = Arc::clone(machine);
    let applied = spawn_blocking(move || {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            machine.apply(entries.by_ref().take(BATCH).collect())?;
        }
        machine.settle()
    });
    applied.await.map_err(|error| error.to_string())?.map_err(|fault: raft::Fault| fault.to_string())
}

fn lap(began: &mut Instant) -> Duration {
    mem::replace(began, Instant::now()).elapsed()
}

fn stamp(at: i64) -> u64 {
    u64::try_from(at).unwrap_or_default()
}

fn told(fault: Fault) -> String {
    fault.to_string()
}
