//! Copies of files for peers, and the crash-atomic replacement of this node's files by copies.
//!
//! A replacement is first written down (`install.json`), then done, then forgotten. A crash in between
//! leaves the note, and the next start does the rest; every step may be repeated.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::PoisonError,
    thread,
};

use rusqlite::backup::Backup;
use serde::{Deserialize, Serialize};
use sqlite::Access;

use super::{
    awaited::Arrived,
    durable::{read_if_present, remove_if_present, sync_folder, write_secret},
    filekeys::FileKeys,
    files::{Store, file_name, lock},
    marks::Marks,
    open,
    unseal::unseal,
    writer::mark_of,
};
use crate::kernel::{Fault, FileId, OrgId};

/// Files that are taken side by side.
const TAKEN_AT_ONCE: usize = 8;

/// A file, where it stands, and its wrapped keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The file.
    pub file: FileId,
    /// Index of the last entry applied.
    pub mark: u64,
    /// Its wrapped keys, which travel with it: the text of its key file.
    pub keys: String,
}

impl Mark {
    /// The file's name inside a snapshot, `system.db` or `tenants/<id>.db`.
    pub fn name(&self) -> String {
        file_name(self.file)
    }

    /// The file that `name` stands for.
    pub fn file_of(name: &str) -> Option<FileId> {
        parse_name(name)
    }
}

/// What is to be done, so that a start can do the rest.
#[derive(Serialize, Deserialize)]
pub(super) struct Install {
    pub(super) staged: PathBuf,
    pub(super) take: Vec<Mark>,
    pub(super) remove: Vec<FileId>,
    /// All marks once it is done.
    pub(super) marks: Vec<(FileId, u64)>,
    /// Files that may have effects to send: what is taken may, what stays if it had.
    pub(super) sending: Vec<FileId>,
}

const NOTE: &str = "install.json";

impl Store {
    /// Every file with its mark and wrapped keys, in order.
    pub fn marks(&self) -> Result<Vec<Mark>, Fault> {
        if let Some(Arrived { here, of, .. }) = self.arrived() {
            return Err(Fault::found(format!(
                "the restore is not complete: {here} of {of} organizations are here"
            )));
        }
        let all: Vec<(FileId, u64)> = lock(&self.marks).list().collect();
        let here = |(file, mark)| match self.key_text(file)? {
            Some(keys) => Ok(Some(Mark { file, mark, keys })),
            // Destroyed since the list was made.
            None if !self.exists(file) => Ok(None),
            None => Err(Fault::found(format!("the key of file {file} is missing"))),
        };
        all.into_iter().filter_map(|entry| here(entry).transpose()).collect()
    }

    /// Writes a consistent, sealed copy of `file` to `to` while writers go on; `None` when it is gone.
    pub fn export(&self, file: FileId, to: &Path) -> Result<Option<Mark>, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.exists(file) {
            return Ok(None);
        }
        self.require_here(file)?;
        // What this node must not answer from, it must not hand on.
        self.require_sound(file)?;
        match self.copy(file, to) {
            Err(fault) if self.set_aside_if_damaged(file, &fault)? => Err(fault),
            made => made.map(Some),
        }
    }

    /// Writes a consistent copy of `file` to `to` that is not encrypted, for who is to read it without this program.
    pub fn write_plain(&self, file: FileId, to: &Path) -> Result<(), Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.require_here(file)?;
        self.require_sound(file)?;
        let sealed = sqlite::open(&self.path(file), self.keys(file)?.raw()?, Access::Read)?;
        unseal(&sealed, to)
    }

    fn copy(&self, file: FileId, to: &Path) -> Result<Mark, Fault> {
        remove_if_present(to)?;
        let keys = self.keys(file)?;
        let source = open::for_read(&self.path(file), keys.raw()?)?;
        let mut copy = sqlite::open(to, keys.raw()?, Access::Write)?;
        // One step: the whole copy is of one state of the file.
        Backup::new(&source, &mut copy)?.step(-1)?;
        let mark = mark_of(&copy)?;
        // Read again: an entry in the copy may have brought one more.
        Ok(Mark { file, mark, keys: self.keys(file)?.text() })
    }

    /// Replaces this node's files: `keep` stay, `take` come from `staged`, all others go.
    pub fn install(&self, staged: &Path, keep: &[Mark], take: &[Mark]) -> Result<(), Fault> {
        // In this order: apply destroys files, alone, while it holds its share.
        let mut writers: Vec<_> = self.writers.iter().map(lock).collect();
        let _alone = self.alone();
        let stay: BTreeSet<FileId> = keep.iter().chain(take).map(|mark| mark.file).collect();
        let on_disk = files_on_disk(&self.root)?.into_iter();
        let remove: Vec<FileId> = on_disk.filter(|file| !stay.contains(file)).collect();
        let marks = keep.iter().chain(take).map(|mark| (mark.file, mark.mark)).collect();
        let had = keep.iter().map(|mark| mark.file).filter(|file| self.is_sending(*file));
        let sending = had.chain(take.iter().map(|mark| mark.file)).collect();
        let replaced: Vec<FileId> = take.iter().map(|mark| mark.file).chain(remove.iter().copied()).collect();
        for share in &mut writers {
            share.close_all();
        }
        self.forget_open();
        note(
            &self.root,
            &Install { staged: staged.to_owned(), take: take.to_vec(), remove, marks, sending },
        )?;
        complete(&self.root)?;
        // A crash before this leaves sound files in quarantine, which are replaced once more.
        self.quarantine.replaced(replaced.into_iter())?;
        *lock(&self.marks) = Marks::load(&self.root)?;
        self.epochs.touch_all();
        lock(&self.standings).forget_all();
        lock(&self.dirty).clear();
        lock(&self.overgrown).clear();
        self.find_rekeying()?;
        self.learn_level()?;
        self.require_known_level()
    }
}

/// Lays copies that lie in `staged` under their names into the folder of a store that nobody has open and that holds
/// nothing yet. A crash leaves what the next start of a store completes.
pub fn lay(root: &Path, staged: &Path, take: &[Mark]) -> Result<(), Fault> {
    let tenants = root.join("tenants");
    fs::create_dir_all(&tenants).map_err(|error| Fault::new(format!("make {}", tenants.display()), error))?;
    if let Some(file) = files_on_disk(root)?.first() {
        return Err(Fault::found(format!("{} holds {} already", root.display(), file_name(*file))));
    }
    let marks = take.iter().map(|mark| (mark.file, mark.mark)).collect();
    let sending = take.iter().map(|mark| mark.file).collect();
    let install =
        Install { staged: staged.to_owned(), take: take.to_vec(), remove: Vec::new(), marks, sending };
    note(root, &install)?;
    complete(root)
}

/// Writes down what is to be done.
pub(super) fn note(root: &Path, install: &Install) -> Result<(), Fault> {
    let text = serde_json::to_vec(install).map_err(|error| Fault::new("write the install note", error))?;
    write_secret(&root.join(NOTE), &text)
}

/// Does what an install note says, if there is one.
pub(super) fn complete(root: &Path) -> Result<(), Fault> {
    let path = root.join(NOTE);
    let Some(bytes) = read_if_present(&path)? else { return Ok(()) };
    let note: Install = serde_json::from_slice(&bytes).map_err(|error| {
        let cure = "remove this node from the cluster, remove its data and join it under a new number";
        Fault::found(format!("read {}: {error}; {cure}", path.display()))
    })?;
    take_all(root, &note.staged, &note.take)?;
    for file in &note.remove {
        let path = root.join(file_name(*file));
        for extension in ["db", "db-wal", "db-shm", "anew", "rekey", "key"] {
            remove_if_present(&path.with_extension(extension))?;
        }
    }
    sync_folder(&root.join("tenants"))?;
    let mut marks = Marks::default();
    for (file, mark) in &note.marks {
        marks.set(*file, *mark);
    }
    note.sending.iter().for_each(|file| marks.set_sending(*file, true));
    Marks::save(root, &marks.record()?)?;
    remove_if_present(&path)?;
    sync_folder(root)
}

/// Some side by side: each makes its key durable, and syncs that wait together share a commit of the file system.
fn take_all(root: &Path, staged: &Path, marks: &[Mark]) -> Result<(), Fault> {
    let share = marks.len().div_ceil(TAKEN_AT_ONCE).max(1);
    thread::scope(|scope| {
        let each = move |share: &[Mark]| share.iter().try_for_each(|mark| take(root, staged, mark));
        let taking: Vec<_> = marks.chunks(share).map(|share| scope.spawn(move || each(share))).collect();
        let died = |_| Err(Fault::found("what takes files into the store has died"));
        taking.into_iter().try_for_each(|taking| taking.join().unwrap_or_else(died))
    })
}

pub(super) fn take(root: &Path, staged: &Path, mark: &Mark) -> Result<(), Fault> {
    let from = staged.join(mark.name());
    let to = root.join(mark.name());
    let exists =
        from.try_exists().map_err(|error| Fault::new(format!("look for {}", from.display()), error))?;
    if !exists {
        // Taken before the crash; or the staging folder is gone, which opening the file will find.
        return Ok(());
    }
    for extension in ["db-wal", "db-shm", "anew"] {
        remove_if_present(&to.with_extension(extension))?;
    }
    // The copy says which of its keys its pages are under: what is left of a rotation is this node's to do, or is done.
    let marker = to.with_extension("rekey");
    if FileKeys::lags(&mark.keys) {
        write_secret(&marker, b"")?;
    } else {
        remove_if_present(&marker)?;
    }
    write_secret(&to.with_extension("key"), mark.keys.as_bytes())?;
    fs::rename(&from, &to).map_err(|error| Fault::new(format!("take {}", to.display()), error))
}

/// The files that lie in `root`, in order.
pub(super) fn files_on_disk(root: &Path) -> Result<Vec<FileId>, Fault> {
    let mut found = Vec::new();
    if root.join(file_name(OrgId::SYSTEM)).exists() {
        found.push(OrgId::SYSTEM);
    }
    let tenants = root.join("tenants");
    let failed = |error: io::Error| Fault::new(format!("list {}", tenants.display()), error);
    for item in fs::read_dir(&tenants).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        found.extend(parse_name(&format!("tenants/{}", name.to_string_lossy())));
    }
    found.sort_unstable();
    Ok(found)
}

fn parse_name(name: &str) -> Option<FileId> {
    if name == "system.db" {
        return Some(OrgId::SYSTEM);
    }
    let id = name.strip_prefix("tenants/")?.strip_suffix(".db")?;
    OrgId::from_str(id).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_file_is_taken_with_its_own_key_however_many_there_are_and_a_failure_is_told() {
        for count in [0, 1, 7, 8, 9, 20] {
            let folder = tempfile::tempdir().unwrap();
            let (root, staged) = (folder.path().join("store"), folder.path().join("staged"));
            for place in [&root, &staged] {
                fs::create_dir_all(place.join("tenants")).unwrap();
            }
            let stage = |number: u128| {
                let mark = Mark { file: OrgId(Uuid::from_u128(number)), mark: 1, keys: number.to_string() };
                fs::write(staged.join(mark.name()), &mark.keys).unwrap();
                mark
            };
            let mut marks: Vec<Mark> = (1..=count).map(stage).collect();
            take_all(&root, &staged, &marks).unwrap();
            for mark in &marks {
                let path = root.join(mark.name());
                for path in [path.with_extension("key"), path] {
                    assert_eq!(fs::read_to_string(path).unwrap(), mark.keys);
                }
            }
            // A folder is where its file should go.
            marks.push(stage(count + 1));
            fs::create_dir(root.join(file_name(OrgId(Uuid::from_u128(count + 1))))).unwrap();
            assert!(take_all(&root, &staged, &marks).is_err());
        }
    }
}
