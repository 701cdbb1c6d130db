//! Destroying a file: its keys first, so that from then on it is noise wherever a copy of it lies.
//!
//! A tombstone beside the file (`<name>.gone`, empty) is written first and stays: it tells a start that finds the
//! file without its key, or still with it, that this is no accident, and the rest is done then.

use std::{fs, path::Path};

use super::{
    durable::{remove_if_present, sync_folder, write_secret},
    files::{Store, file_name, lock},
};
use crate::kernel::{Fault, FileId, OrgId};

impl Store {
    /// Destroys a file. Blocks while a checkpoint or a copy of a file is being made.
    pub(super) fn destroy(&self, file: FileId) -> Result<(), Fault> {
        let _alone = self.alone();
        write_secret(&self.path(file).with_extension("gone"), b"")?;
        lock(&self.marks).remove(file);
        lock(&self.dirty).remove(&file);
        lock(&self.overgrown).remove(&file);
        lock(&self.keys).remove(&file);
        lock(&self.standings).forget(file);
        self.epochs.touch_all();
        lock(&self.rekeying).remove(&file);
        self.readers.close(file);
        remove(&self.root, file)?;
        self.clear(file)
    }
}

/// Ends what a crash cut short; answers the files that are gone.
pub(super) fn complete(root: &Path) -> Result<Vec<FileId>, Fault> {
    let folder = root.join("tenants");
    let failed = |error| Fault::new(format!("list {}", folder.display()), error);
    let mut gone = Vec::new();
    for item in fs::read_dir(&folder).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".gone")).map(str::parse::<OrgId>);
        if let Some(Ok(file)) = id {
            remove(root, file)?;
            gone.push(file);
        }
    }
    Ok(gone)
}

fn remove(root: &Path, file: FileId) -> Result<(), Fault> {
    let path = root.join(file_name(file));
    remove_if_present(&path.with_extension("key"))?;
    sync_folder(&root.join("tenants"))?;
    for extension in ["db-wal", "db-shm", "db", "anew", "rekey"] {
        remove_if_present(&path.with_extension(extension))?;
    }
    sync_folder(&root.join("tenants"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        kernel::Millis,
        store::{Keyring, LEVEL},
    };

    const FILE: FileId = OrgId(uuid::Uuid::from_u128(7));

    fn open(root: &Path) -> Store {
        Store::open(root, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap()
    }

    fn fill(store: &Store) {
        let key = store.keyring().mint(FILE).unwrap();
        let write = |store: &Store, writers: &mut crate::store::Writers| {
            let writer = writers.begin(store, FILE, Some((1, &key)))?.unwrap();
            writer.raise(FILE, LEVEL)?;
            writer.advance(1, Millis(1));
            writers.commit(store)
        };
        store.write(FILE, write).unwrap();
        store.checkpoint().unwrap();
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root.join("tenants"))
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_destroyed_file_is_gone_with_its_key_and_stays_gone() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        fill(&store);
        assert!(store.read(FILE, |_| Ok(())).unwrap().is_some());
        store.write(FILE, |store, writers| writers.destroy(store, FILE)).unwrap();
        assert_eq!(names(place.path()), [format!("{FILE}.gone")]);
        assert!(store.read(FILE, |_| Ok(())).unwrap().is_none());
        assert!(store.seal_entry(FILE, None, b"x").unwrap().is_none());
        store.checkpoint().unwrap();
        drop(store);
        assert!(open(place.path()).list().is_empty());
    }

    #[test]
    fn a_crash_after_the_tombstone_or_the_key_is_ended_by_the_next_start() {
        for with_key in [true, false] {
            let place = tempfile::tempdir().unwrap();
            fill(&open(place.path()));
            let path = place.path().join(file_name(FILE));
            write_secret(&path.with_extension("gone"), b"").unwrap();
            if !with_key {
                fs::remove_file(path.with_extension("key")).unwrap();
            }
            assert!(open(place.path()).list().is_empty());
            assert_eq!(names(place.path()), [format!("{FILE}.gone")]);
        }
    }

    #[test]
    fn a_key_that_vanished_without_a_tombstone_is_a_fault() {
        let place = tempfile::tempdir().unwrap();
        fill(&open(place.path()));
        fs::remove_file(place.path().join(file_name(FILE)).with_extension("key")).unwrap();
        let store = open(place.path());
        let said = |fault: Fault| fault.to_string();
        assert!(said(store.read(FILE, |_| Ok(())).unwrap_err()).contains("key file is missing"));
        // Nor does it look as if there were no such organization to write to.
        assert!(said(store.seal_entry(FILE, None, b"x").unwrap_err()).contains("key file is missing"));
    }
}
