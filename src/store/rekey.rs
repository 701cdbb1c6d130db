//! A file's data key changes: new entries are sealed under it at once, and each node encrypts its pages anew.
//!
//! The copy under the new key is made beside the file while apply goes on, and takes its place when nothing was
//! written meanwhile; after a few attempts apply waits for the copy. `<name>.rekey` (empty) lies beside the file from
//! before its second key is known until its pages are under it, so that a start finds what is left to do, and which
//! of the two keys the pages are under if it was cut short in between.

use std::{collections::BTreeSet, fs, path::Path, sync::PoisonError};

use rusqlite::backup::Backup;
use sqlite::Access;

use super::{
    durable::{remove_if_present, sync_folder, write_secret},
    filekeys::FileKeys,
    files::{Store, lock},
    keyring::WrappedKey,
    open,
    writer::{Writers, mark_of},
};
use crate::kernel::{Fault, FileId, OrgId};

/// Copies made beside apply before one is made while it waits.
const ATTEMPTS: usize = 3;

impl Store {
    /// Takes in the key that the entry at `since` brings for an existing file. After a crash it is there already. In a restore
    /// a later one may be there already, and not this one, under which the entries between the two are sealed.
    pub fn take_next_key(
        &self,
        file: FileId,
        since: u64,
        number: u32,
        key: &WrappedKey,
    ) -> Result<(), Fault> {
        let keys = self.keys(file)?;
        if keys.holds(number) {
            return Ok(());
        }
        write_secret(&self.path(file).with_extension("rekey"), b"")?;
        self.save_keys(file, &keys.with(&self.keyring, number, since, key)?)?;
        lock(&self.rekeying).insert(file);
        Ok(())
    }

    /// Files whose pages are not yet under their newest key.
    pub fn rekeying(&self) -> BTreeSet<FileId> {
        lock(&self.rekeying).clone()
    }

    /// Encrypts the pages of `file` under its newest key. Not those of a file in quarantine: its copy comes first.
    pub fn reencrypt(&self, file: FileId) -> Result<(), Fault> {
        match self.reencrypt_sound(file) {
            Err(fault) if self.set_aside_if_damaged(file, &fault)? => Ok(()),
            done => done,
        }
    }

    fn reencrypt_sound(&self, file: FileId) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS {
            if self.is_quarantined(file) {
                return Ok(());
            }
            if !self.exists(file) {
                break;
            }
            let copied = self.copy_anew(file)?;
            if self.write(file, |store, writers| store.put_anew(writers, file, copied))? {
                return Ok(());
            }
        }
        self.write(file, |store, writers| {
            writers.commit(store)?;
            if store.is_quarantined(file) {
                return Ok(());
            }
            if store.exists(file) {
                let copied = store.copy_anew(file)?;
                if !store.put_anew(writers, file, copied)? {
                    return Err(Fault::found(format!("{file} changed while nobody could write it")));
                }
            }
            lock(&store.rekeying).remove(&file);
            Ok(())
        })
    }

    /// A durable copy under the newest key; the mark it stands at.
    fn copy_anew(&self, file: FileId) -> Result<u64, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let to = self.path(file).with_extension("anew");
        remove_if_present(&to)?;
        let keys = self.keys(file)?;
        let source = open::for_read(&self.path(file), keys.raw()?)?;
        let mut copy = sqlite::open(&to, keys.newest_raw()?, Access::Write)?;
        Backup::new(&source, &mut copy)?.step(-1)?;
        let mark = mark_of(&copy)?;
        drop(copy);
        let synced = fs::File::open(&to).and_then(|file| file.sync_all());
        synced.map_err(|error| Fault::new(format!("make {} durable", to.display()), error))?;
        Ok(mark)
    }

    /// Puts the copy in the file's place, unless something was written since, or the file is another one now.
    fn put_anew(&self, writers: &mut Writers, file: FileId, copied: u64) -> Result<bool, Fault> {
        writers.commit(self)?;
        let _alone = self.alone();
        let (path, keys) = (self.path(file), self.keys(file)?);
        if self.mark(file) != copied || !path.with_extension("anew").exists() {
            return Ok(false);
        }
        let old = open::for_checkpoint(&path, keys.raw()?)?;
        writers.close(file);
        self.readers.close(file);
        old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        drop(old);
        for extension in ["db-wal", "db-shm"] {
            remove_if_present(&path.with_extension(extension))?;
        }
        let folder = path.parent().unwrap_or(&self.root);
        fs::rename(path.with_extension("anew"), &path)
            .map_err(|error| Fault::new(format!("replace {}", path.display()), error))?;
        sync_folder(folder)?;
        self.save_keys(file, &keys.newest_only(&self.keyring)?)?;
        remove_if_present(&path.with_extension("rekey"))?;
        sync_folder(folder)?;
        lock(&self.rekeying).remove(&file);
        Ok(true)
    }

    /// A copy has taken the place of `file`: what is left to do is what lies beside it.
    pub(super) fn follow_copy(&self, file: FileId) {
        let left = self.path(file).with_extension("rekey").exists();
        let mut rekeying = lock(&self.rekeying);
        if left {
            rekeying.insert(file)
        } else {
            rekeying.remove(&file)
        };
    }

    /// At a start, and when other files are here: what is left to do, with the key files telling the truth about the
    /// pages.
    pub(super) fn find_rekeying(&self) -> Result<(), Fault> {
        lock(&self.rekeying).clear();
        for file in marked(&self.root)? {
            let (path, keys) = (self.path(file), self.keys(file)?);
            remove_if_present(&path.with_extension("anew"))?;
            let opens = |key: &[u8; 32]| open::for_read(&path, key).and_then(|open| mark_of(&open)).is_ok();
            if !opens(keys.raw()?) && opens(keys.newest_raw()?) {
                self.save_keys(file, &keys.newest_only(&self.keyring)?)?;
            }
            if self.keys(file)?.is_on_disk() {
                remove_if_present(&path.with_extension("rekey"))?;
            } else {
                lock(&self.rekeying).insert(file);
            }
        }
        Ok(())
    }

    fn save_keys(&self, file: FileId, keys: &FileKeys) -> Result<(), Fault> {
        write_secret(&self.key_path(file), keys.text().as_bytes())?;
        lock(&self.keys).remove(&file);
        Ok(())
    }
}

/// The files beside which a marker lies.
fn marked(root: &Path) -> Result<BTreeSet<FileId>, Fault> {
    let folder = root.join("tenants");
    let failed = |error| Fault::new(format!("list {}", folder.display()), error);
    let mut found = BTreeSet::new();
    if root.join("system.rekey").exists() {
        found.insert(OrgId::SYSTEM);
    }
    for item in fs::read_dir(&folder).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".rekey")).map(str::parse::<OrgId>);
        found.extend(id.and_then(Result::ok));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
