//! Files that this node must not answer from: damaged on its disk, or different from what other nodes hold.
//!
//! A file in quarantine is refused to readers ([`Quarantined`]). Entries go on being applied to it while that
//! works; once it lacks some (it *skips*), further ones are kept for the copy that will replace it, or let go,
//! since that copy will hold them. `quarantine.json` outlives the process: a restart forgets nothing.
//!
//! Damage is no fault where another node has the file. Where there is none (`replicated` is false) nothing is
//! set aside, and the fault halts the node as any other.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, mem,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    durable::{read_if_present, write_secret},
    files::{Store, lock},
    replacement::NotHere,
};
use crate::kernel::{Fault, FileId, Millis};

/// What is wrong with a file on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nodes differ, and no majority of them says which is right.
    Undecided,
    /// A majority of the nodes holds something else.
    Differs,
    /// What lies on this node's disk is not what was written.
    Damaged,
}

/// Why a file is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Names this alarm: a file may be found damaged again where it was found damaged before.
    pub id: Uuid,
    /// What was found.
    pub found: Found,
    /// More about it, for the operator.
    pub detail: String,
    /// Index of the last entry applied to the file when it was found.
    pub index: u64,
    /// It lacks entries that this node has passed.
    skips: bool,
    /// A copy is in its place, which lacks none. Not on disk: what is applied to the copy is not durable yet.
    #[serde(skip)]
    caught_up: bool,
}

impl Alarm {
    /// About a file that cannot be fetched: the same alarm as before, if there was one.
    pub(super) fn awaited(before: Option<&Self>, why: &str) -> Self {
        let id = before.map_or_else(Uuid::new_v4, |before| before.id);
        Self { id, found: Found::Damaged, detail: why.to_owned(), index: 0, skips: true, caught_up: false }
    }
}

/// An entry kept for a file that is being replaced.
pub struct Held {
    /// Its place in the log.
    pub index: u64,
    /// The leader's stamp.
    pub at: Millis,
    /// What was proposed.
    pub body: Vec<u8>,
}

/// What a reader of a file in quarantine meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined(pub FileId);

impl Quarantined {
    /// Whether this is what a fault is about.
    pub fn is(fault: &Fault) -> bool {
        causes(fault).any(<dyn Error>::is::<Self>)
    }
}

impl fmt::Display for Quarantined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "file {} is in quarantine on this node", self.0)
    }
}

impl Error for Quarantined {}

/// A file that is readable and not what was left there: an older one, or an empty one in its place.
#[derive(Debug)]
pub(super) struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "it was replaced or lost; put it back, or remove this node from the cluster, remove its data and join it \
             under a new number",
        )
    }
}

impl Error for Lost {}

/// Whether a fault says that what lies on disk is not what was written, or lacks what another node has.
pub(super) fn is_damage(fault: &Fault) -> bool {
    let lacks = |cause: &(dyn Error + 'static)| cause.is::<Lost>() || cause.is::<NotHere>();
    causes(fault).any(|cause| lacks(cause) || cause.downcast_ref().is_some_and(sqlite::is_damage))
}

pub(super) fn causes(fault: &Fault) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(fault.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

/// Bytes of entries kept while one file is replaced; beyond it the copy is taken anew.
const HELD_BYTES_MAX: usize = 64 << 20;
const NAME: &str = "quarantine.json";

/// The files in quarantine.
#[derive(Default)]
pub(super) struct Quarantine {
    path: PathBuf,
    /// Looked at for every entry and every read: whether there is any file at all.
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default, Serialize, Deserialize)]
struct Inner {
    /// Whether another node holds what this one holds.
    replicated: bool,
    files: BTreeMap<FileId, Alarm>,
    #[serde(skip)]
    held: BTreeMap<FileId, Vec<Held>>,
}

impl Quarantine {
    pub(super) fn load(root: &Path) -> Result<Self, Fault> {
        let path = root.join(NAME);
        let read = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes)
                .map_err(|error| Fault::new(format!("read {}", path.display()), error))
        };
        let inner: Inner = read_if_present(&path)?.map(read).transpose()?.unwrap_or_default();
        Ok(Self { any: (!inner.files.is_empty()).into(), path, inner: inner.into() })
    }

    fn save(&self, inner: &Inner) -> Result<(), Fault> {
        self.any.store(!inner.files.is_empty(), Ordering::SeqCst);
        let bytes =
            serde_json::to_vec(inner).map_err(|error| Fault::new("write the quarantine as JSON", error))?;
        write_secret(&self.path, &bytes)
    }

    /// Ends the quarantine of files that were replaced; entries kept for others are stale, and go.
    pub(super) fn replaced(&self, files: impl Iterator<Item = FileId>) -> Result<(), Fault> {
        let mut inner = lock(&self.inner);
        inner.held.clear();
        let before = inner.files.len();
        files.for_each(|file| drop(inner.files.remove(&file)));
        if inner.files.len() == before { Ok(()) } else { self.save(&inner) }
    }
}

impl Store {
    /// The files in quarantine, and why.
    pub fn alarms(&self) -> BTreeMap<FileId, Alarm> {
        if !self.quarantine.any.load(Ordering::SeqCst) {
            return BTreeMap::new();
        }
        lock(&self.quarantine.inner).files.clone()
    }

    /// Whether this node must not answer from `file`.
    pub fn is_quarantined(&self, file: FileId) -> bool {
        self.quarantine.any.load(Ordering::SeqCst) && lock(&self.quarantine.inner).files.contains_key(&file)
    }

    /// Whether another node holds what this one holds.
    pub(super) fn is_replicated(&self) -> bool {
        lock(&self.quarantine.inner).replicated
    }

    /// Says whether another node holds what this one holds.
    pub fn set_replicated(&self, replicated: bool) -> Result<(), Fault> {
        let mut inner = lock(&self.quarantine.inner);
        if mem::replace(&mut inner.replicated, replicated) == replicated {
            return Ok(());
        }
        self.quarantine.save(&inner)
    }

    /// Puts `file` in quarantine, or says more about one that is there.
    pub fn set_aside(&self, file: FileId, found: Found, detail: &str) -> Result<(), Fault> {
        self.raise(file, found, detail, false)
    }

    /// Puts `file` in quarantine if `fault` says that it is damaged and another node holds it; whether it did.
    pub fn set_aside_if_damaged(&self, file: FileId, fault: &Fault) -> Result<bool, Fault> {
        self.judge(file, fault, false)
    }

    /// As [`Store::set_aside_if_damaged`], for apply: the file lacks the entry that failed. Where its content
    /// is in doubt already, any failure is damage.
    pub fn skips_from_here(&self, file: FileId, fault: &Fault) -> Result<bool, Fault> {
        self.judge(file, fault, true)
    }

    fn judge(&self, file: FileId, fault: &Fault, skips: bool) -> Result<bool, Fault> {
        let doubtful = is_damage(fault) || skips && self.is_quarantined(file);
        if !doubtful || !self.is_replicated() {
            return Ok(false);
        }
        self.raise(file, Found::Damaged, &fault.to_string(), skips)?;
        Ok(true)
    }

    fn raise(&self, file: FileId, found: Found, detail: &str, skips: bool) -> Result<(), Fault> {
        let index = self.mark(file);
        let mut inner = lock(&self.quarantine.inner);
        let known = inner.files.get(&file);
        if known.is_some_and(|known| known.found >= found && known.skips >= skips && !known.caught_up) {
            return Ok(());
        }
        let index = known.map_or(index, |known| known.index);
        let skips = skips || known.is_some_and(|known| known.skips);
        let caught_up = false;
        if known.is_none() {
            self.counters.alarms.fetch_add(1, Ordering::Relaxed);
            tracing::error!(organization.id = %file, entry.index = index, ?found, detail, "a file is in quarantine");
        }
        let id = known.map_or_else(Uuid::new_v4, |known| known.id);
        inner.files.insert(file, Alarm { id, found, detail: detail.to_owned(), index, skips, caught_up });
        self.quarantine.save(&inner)
    }

    /// Whether an entry must not be applied to `file`, which lacks some before it; it is kept if a copy of the
    /// file is on its way.
    pub fn holds_back(&self, file: FileId, entry: impl FnOnce() -> Held) -> bool {
        if !self.quarantine.any.load(Ordering::SeqCst) {
            return false;
        }
        let mut inner = lock(&self.quarantine.inner);
        if !inner.files.get(&file).is_some_and(|alarm| alarm.skips && !alarm.caught_up) {
            return false;
        }
        if let Some(held) = inner.held.get_mut(&file) {
            held.push(entry());
            if held.iter().map(|entry| entry.body.len()).sum::<usize>() > HELD_BYTES_MAX {
                inner.held.remove(&file);
            }
        }
        true
    }

    /// From now on entries of a file in quarantine are kept for its copy. Not while apply is at that file's share.
    pub fn hold_back(&self, file: FileId) -> Result<(), Fault> {
        let _apply_rests = lock(self.writers.get(self.share_of(file)));
        let mut inner = lock(&self.quarantine.inner);
        let Some(alarm) = inner.files.get_mut(&file) else { return Ok(()) };
        alarm.skips = true;
        alarm.caught_up = false;
        inner.held.insert(file, Vec::new());
        self.quarantine.save(&inner)
    }

    /// Whether entries are being kept for a copy of `file`.
    pub(super) fn is_held_back(&self, file: FileId) -> bool {
        lock(&self.quarantine.inner).held.contains_key(&file)
    }

    /// The entries kept for a file whose copy is in place, in order: from now on it is applied to again. `None`
    /// when they were too many, or the copy is no longer the one they were kept for. Only while apply rests.
    pub fn take_held(&self, file: FileId) -> Option<Vec<Held>> {
        let mut inner = lock(&self.quarantine.inner);
        let held = inner.held.remove(&file)?;
        inner.files.get_mut(&file)?.caught_up = true;
        Some(held)
    }

    /// Ends the quarantine of `file`, once it is sound and durable.
    pub fn clear(&self, file: FileId) -> Result<(), Fault> {
        let mut inner = lock(&self.quarantine.inner);
        inner.held.remove(&file);
        if inner.files.remove(&file).is_none() {
            return Ok(());
        }
        self.counters.cleared.fetch_add(1, Ordering::Relaxed);
        tracing::info!(organization.id = %file, "a file is out of quarantine");
        self.quarantine.save(&inner)
    }
}
