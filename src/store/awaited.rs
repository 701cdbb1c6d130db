//! Files that exist and are not here yet: a restore serves before it has fetched them.
//!
//! Nobody is answered from such a file and nothing is applied to it: who wants it waits for it, or is told why it does
//! not come. It arrives whole, durably and once. `awaited.json` names the files of the restore and says, in words that
//! mean nothing here, where they are to be had; it is written once, and removed when the last has arrived. Which of
//! them are still awaited is seen from what lies in the folder, so that a crash forgets nothing and repeats nothing.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    durable::{read_if_present, remove_if_present, sync_folder, write_secret},
    files::{Store, file_name, lock},
    marks::Marks,
    quarantine::{Alarm, causes},
    snapshot::{Mark, take},
};
use crate::kernel::{Fault, FileId};

/// What a reader of an awaited file meets who did not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited(pub FileId);

impl Awaited {
    /// Whether this is what a fault is about.
    pub fn is(fault: &Fault) -> bool {
        causes(fault).any(<dyn Error>::is::<Self>)
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "file {} is not here yet", self.0)
    }
}

impl Error for Awaited {}

/// What becomes of a file that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is here.
    Here,
    /// It is next.
    Coming,
    /// Nothing comes now; it is tried again.
    Stalled,
    /// It could not be had; it is tried again.
    Failing,
}

/// How far the files of a restore are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrived {
    /// Those that are here.
    pub here: usize,
    /// All of them.
    pub of: usize,
    /// Bytes of those that are here.
    pub bytes_here: u64,
    /// Bytes of all.
    pub bytes_of: u64,
    /// Seconds that the rest takes if it goes on as it went since this node started; absent when nothing came yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Those that could not be had: each is an alarm.
    pub failing: usize,
    /// Why nothing comes now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    /// With the bytes of each.
    files: BTreeMap<FileId, u64>,
    from: Value,
}

const NOTE: &str = "awaited.json";

/// The files that are awaited.
pub(super) struct Arrivals {
    /// Looked at for every entry and every read: whether there is any file at all.
    any: AtomicBool,
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

struct Inner {
    files: BTreeMap<FileId, Coming>,
    /// Of all that there were: how many, and their bytes.
    of: (usize, u64),
    /// When this began to count, and the bytes that were not here then.
    since: (Instant, u64),
    /// Those that somebody waits for, in the order in which they were asked for.
    asked: Vec<FileId>,
    stalled: Option<String>,
}

struct Coming {
    bytes: u64,
    /// Why it could not be had.
    alarm: Option<Alarm>,
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.files.values().map(|coming| coming.bytes).sum()
    }

    fn seconds_left(&self) -> Option<u64> {
        let ((since, then), now) = (self.since, self.bytes());
        let came = then.saturating_sub(now);
        (came > 0).then(|| since.elapsed().as_secs().saturating_mul(now) / came)
    }
}

/// Notes durably, before the store in `root` is opened by a node, that `files` of so many bytes are to be
/// fetched: `from` says how.
pub fn expect(root: &Path, files: BTreeMap<FileId, u64>, from: Value) -> Result<(), Fault> {
    let text = serde_json::to_vec(&Note { files, from })
        .map_err(|error| Fault::new("write which files are awaited", error))?;
    write_secret(&root.join(NOTE), &text)
}

fn read(root: &Path) -> Result<Option<Note>, Fault> {
    let path = root.join(NOTE);
    let Some(text) = read_if_present(&path)? else { return Ok(None) };
    let note = serde_json::from_slice(&text);
    note.map(Some).map_err(|error| Fault::new(format!("read {}", path.display()), error))
}

impl Arrivals {
    pub(super) fn load(root: &Path, marks: &Marks) -> Result<Self, Fault> {
        let all = read(root)?.map(|note| note.files).unwrap_or_default();
        let of = (all.len(), all.values().sum());
        let lies = |file, extension| root.join(file_name(file)).with_extension(extension).exists();
        // One that was here is never fetched again: what was written to it since would be lost.
        let missing = |file| marks.get(file).is_none() && !lies(file, "db") && !lies(file, "gone");
        let files = all.into_iter().filter(|(file, _)| missing(*file));
        let files = files.map(|(file, bytes)| (file, Coming { bytes, alarm: None })).collect();
        let mut inner = Inner { files, of, since: (Instant::now(), 0), asked: Vec::new(), stalled: None };
        inner.since.1 = inner.bytes();
        let (changed, _) = watch::channel(());
        Ok(Self { any: (!inner.files.is_empty()).into(), inner: inner.into(), changed })
    }

    fn change(&self, step: impl FnOnce(&mut Inner)) {
        let mut inner = lock(&self.inner);
        step(&mut inner);
        self.any.store(!inner.files.is_empty(), Ordering::SeqCst);
        drop(inner);
        self.changed.send_replace(());
    }
}

impl Store {
    /// Whether `file` exists and is not here yet.
    pub fn is_awaited(&self, file: FileId) -> bool {
        self.arrivals.any.load(Ordering::SeqCst) && lock(&self.arrivals.inner).files.contains_key(&file)
    }

    /// The files that are awaited, each with why it could not be had, if that was tried.
    pub fn awaited(&self) -> BTreeMap<FileId, Option<Alarm>> {
        if !self.arrivals.any.load(Ordering::SeqCst) {
            return BTreeMap::new();
        }
        let inner = lock(&self.arrivals.inner);
        inner.files.iter().map(|(file, coming)| (*file, coming.alarm.clone())).collect()
    }

    /// How far the restore is that this node serves in the middle of; `None` when nothing is awaited.
    pub fn arrived(&self) -> Option<Arrived> {
        if !self.arrivals.any.load(Ordering::SeqCst) {
            return None;
        }
        let inner = lock(&self.arrivals.inner);
        Some(Arrived {
            here: inner.of.0.saturating_sub(inner.files.len()),
            of: inner.of.0,
            bytes_here: inner.of.1.saturating_sub(inner.bytes()),
            bytes_of: inner.of.1,
            seconds_left: inner.seconds_left(),
            failing: inner.files.values().filter(|coming| coming.alarm.is_some()).count(),
            stalled: inner.stalled.clone(),
        })
    }

    /// Says that somebody waits for `file`: it comes before those that nobody asks for.
    pub fn want(&self, file: FileId) -> Wanted {
        if !self.is_awaited(file) {
            return Wanted::Here;
        }
        let mut inner = lock(&self.arrivals.inner);
        let outcome = match inner.files.get(&file) {
            None => return Wanted::Here,
            Some(coming) if coming.alarm.is_some() => Wanted::Failing,
            Some(_) if inner.stalled.is_some() => Wanted::Stalled,
            Some(_) => Wanted::Coming,
        };
        if !inner.asked.contains(&file) {
            inner.asked.push(file);
            drop(inner);
            self.arrivals.changed.send_replace(());
        }
        outcome
    }

    /// The awaited files that somebody has asked for, first come first.
    pub fn wanted(&self) -> Vec<FileId> {
        lock(&self.arrivals.inner).asked.clone()
    }

    /// Told whenever a file arrives, is asked for, or fails to come.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.changed.subscribe()
    }

    /// Says why nothing comes now; or that it does.
    pub fn stall(&self, why: Option<String>) {
        self.arrivals.change(|inner| inner.stalled = why);
    }

    /// Says that an awaited file could not be had.
    pub fn fails_to_arrive(&self, file: FileId, why: &str) {
        let mut first = false;
        self.arrivals.change(|inner| {
            if let Some(coming) = inner.files.get_mut(&file) {
                first = coming.alarm.is_none();
                coming.alarm = Some(Alarm::awaited(coming.alarm.as_ref(), why));
            }
        });
        if first {
            self.counters.alarms.fetch_add(1, Ordering::Relaxed);
            tracing::error!(organization.id = %file, why, "a file cannot be restored");
        }
    }

    /// Takes an awaited file, which stands at `mark`, out of the store in `staged`, which nobody has open; durably. From
    /// then on it can be read and written to.
    pub fn arrive(&self, staged: &Path, file: FileId, mark: u64) -> Result<(), Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let from = staged.join(file_name(file));
        let unreadable = |error| Fault::new(format!("take {}", from.display()), error);
        fs::File::open(&from).and_then(|file| file.sync_all()).map_err(unreadable)?;
        let keys = fs::read_to_string(from.with_extension("key")).map_err(unreadable)?;
        let copy = &Mark { file, mark, keys };
        // Its key first: from the moment that the file lies there it is here.
        take(&self.root, staged, copy)?;
        sync_folder(&self.root.join("tenants"))?;
        self.follow_copy(file);
        let mut marks = lock(&self.marks);
        marks.set(file, mark);
        // What is sent already is found to be sent.
        marks.set_sending(file, true);
        drop(marks);
        // The record of the marks says so with the next checkpoint.
        lock(&self.dirty).insert(file);
        self.no_longer_awaited(file);
        Ok(())
    }

    /// An awaited file was destroyed by the end of what is restored.
    pub fn arrive_destroyed(&self, file: FileId) -> Result<(), Fault> {
        write_secret(&self.path(file).with_extension("gone"), b"")?;
        self.no_longer_awaited(file);
        Ok(())
    }

    fn no_longer_awaited(&self, file: FileId) {
        self.arrivals.change(|inner| {
            inner.files.remove(&file);
            inner.asked.retain(|asked| *asked != file);
        });
    }

    /// Where awaited files are to be had, as [`expect`] was told; `None` when there is nothing more to do.
    pub fn awaited_from(&self) -> Result<Option<Value>, Fault> {
        Ok(read(&self.root)?.map(|note| note.from))
    }

    /// Forgets the restore, once everything is here.
    pub fn end_awaiting(&self) -> Result<(), Fault> {
        if let Some(Arrived { here, of, .. }) = self.arrived() {
            return Err(Fault::found(format!(
                "{here} of {of} files are here, and the rest would be forgotten"
            )));
        }
        remove_if_present(&self.root.join(NOTE))?;
        sync_folder(&self.root)
    }

    /// A fault for whoever wants to answer from a file that is not here yet, or to write to it.
    pub(super) fn require_here(&self, file: FileId) -> Result<(), Fault> {
        if self.is_awaited(file) {
            return Err(Fault::new("use a file", Awaited(file)));
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

    fn open(root: &Path) -> Store {
        Store::open(root, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap()
    }

    /// Writes an entry to the file, which the entry may create.
    fn write(store: &Store, file: FileId, mark: u64) -> Result<(), Fault> {
        let key = store.keyring().mint(file).unwrap();
        store.write(file, |store: &Store, writers: &mut Writers| {
            let writer = writers.begin(store, file, Some((mark, &key)))?.unwrap();
            writer.raise(file, LEVEL)?;
            writer.advance(mark, Millis(1));
            writers.commit(store)
        })?;
        store.checkpoint()
    }

    /// A file in a folder of its own, as a restore makes it.
    fn staged(file: FileId, mark: u64) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        write(&open(place.path()), file, mark).unwrap();
        place
    }

    #[test]
    fn an_awaited_file_is_known_and_neither_read_nor_written_until_it_arrives() {
        let place = tempfile::tempdir().unwrap();
        expect(place.path(), [(file(1), 10), (file(2), 20)].into(), Value::Null).unwrap();
        let store = open(place.path());
        assert!(store.exists(file(1)) && store.is_awaited(file(1)) && !store.exists(file(3)));
        assert!(store.list().is_empty(), "what walks over all files finds those that are here");
        assert!(store.read(file(1), |_| Ok(())).is_err_and(|fault| Awaited::is(&fault)));
        assert!(write(&store, file(1), 9).is_err_and(|fault| Awaited::is(&fault)));
        assert!(store.export(file(1), &place.path().join("copy")).is_err_and(|fault| Awaited::is(&fault)));
        assert!(store.marks().is_err(), "a snapshot would lack it");
        assert!(store.end_awaiting().is_err());
        store.arrive(staged(file(1), 5).path(), file(1), 5).unwrap();
        assert_eq!((store.mark(file(1)), store.list()), (5, vec![file(1)]));
        assert!(store.read(file(1), |_| Ok(())).unwrap().is_some() && store.is_sending(file(1)));
        write(&store, file(1), 9).unwrap();
        let Arrived { here, of, bytes_here, bytes_of, .. } = store.arrived().unwrap();
        assert_eq!((here, of, bytes_here, bytes_of), (1, 2, 10, 30));
    }

    #[test]
    fn what_has_arrived_or_is_gone_is_not_awaited_after_a_crash_and_the_rest_is() {
        let place = tempfile::tempdir().unwrap();
        expect(place.path(), [(file(1), 1), (file(2), 2), (file(3), 3)].into(), Value::Bool(true)).unwrap();
        let store = open(place.path());
        store.arrive(staged(file(1), 5).path(), file(1), 5).unwrap();
        store.arrive_destroyed(file(2)).unwrap();
        // As a crash leaves it: no checkpoint has recorded the mark.
        std::mem::forget(store);
        let store = open(place.path());
        assert_eq!(store.awaited().into_keys().collect::<Vec<_>>(), [file(3)]);
        assert_eq!(store.mark(file(1)), 5);
        assert!(!store.exists(file(2)));
        // Lost after it was written to it is not fetched again.
        write(&store, file(1), 9).unwrap();
        drop(store);
        fs::remove_file(place.path().join(file_name(file(1)))).unwrap();
        let store = open(place.path());
        assert!(!store.is_awaited(file(1)) && store.exists(file(1)));
        store.arrive(staged(file(3), 5).path(), file(3), 5).unwrap();
        assert_eq!(store.awaited_from().unwrap(), Some(Value::Bool(true)));
        store.end_awaiting().unwrap();
        assert_eq!(store.awaited_from().unwrap(), None);
    }

    #[test]
    fn who_wants_a_file_is_told_whether_it_comes_and_the_first_who_asked_is_first() {
        let place = tempfile::tempdir().unwrap();
        expect(place.path(), [(file(1), 10), (file(2), 20)].into(), Value::Null).unwrap();
        let store = open(place.path());
        let mut told = store.arrivals();
        told.mark_unchanged();
        assert_eq!((store.want(file(2)), store.want(file(9))), (Wanted::Coming, Wanted::Here));
        assert!(told.has_changed().unwrap());
        store.stall(Some("the bucket does not answer".to_owned()));
        assert_eq!((store.want(file(1)), store.wanted()), (Wanted::Stalled, vec![file(2), file(1)]));
        store.stall(None);
        store.fails_to_arrive(file(2), "one.ltx: its checksum is wrong");
        assert_eq!((store.want(file(2)), store.want(file(1))), (Wanted::Failing, Wanted::Coming));
        let alarm = store.awaited().remove(&file(2)).flatten().unwrap();
        assert!(alarm.detail.contains("one.ltx"));
        store.arrive(staged(file(2), 5).path(), file(2), 5).unwrap();
        assert_eq!((store.want(file(2)), store.wanted()), (Wanted::Here, vec![file(1)]));
    }
}
