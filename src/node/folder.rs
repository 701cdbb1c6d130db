//! The data folder: one process at a time, and what lies where.
//!
//! `lock` the process that uses it · `cluster.key` the keyring, sealed ([`Vault`]) · `raft/` log and identity ·
//! `store/` the files · `initial-admin-password` until somebody deletes it · `unfinished` while the node
//! begins or joins a cluster.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Failure, NodeConfig,
    vault::{Seal, Vault},
};
use crate::{
    kernel::Fault,
    store::{Keyring, read_if_present, write_secret},
};

/// Name of the file with the first administrator's password.
pub const PASSWORD_FILE: &str = "initial-admin-password";

/// How a node comes to belong to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Founding {
    /// It begins one.
    Begin,
    /// It joins one.
    Join,
    /// It is made from a backup.
    Restore,
}

impl Founding {
    fn note(self) -> &'static [u8] {
        match self {
            Self::Begin => b"begin\n",
            Self::Join => b"join\n",
            Self::Restore => b"restore\n",
        }
    }
}

/// A data folder that this process has to itself.
pub(super) struct DataFolder {
    root: PathBuf,
    /// Unlocked by the kernel when the process ends, however it ends.
    _lock: File,
}

impl DataFolder {
    /// Takes the folder, making it if need be; refused while another process has it.
    pub(super) fn claim(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let unusable = |error: std::io::Error| {
            Failure::new(
                format!("the data folder {shown} cannot be used: {error}"),
                "name a folder this user may write with --data-dir",
            )
        };
        // Absolute, because notes about work in progress name files and must survive another working folder.
        let root = std::path::absolute(path).map_err(unusable)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(unusable)?;
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(root.join("lock"));
        let mut lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&mut lock, path)),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        lock.set_len(0).map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { root, _lock: lock })
    }

    /// Where the replica keeps its log and identity.
    pub(super) fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    /// Where the store keeps its files.
    pub(super) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Where the keyring lies.
    pub(super) fn key(&self) -> PathBuf {
        self.root.join("cluster.key")
    }

    /// Where the first administrator's password lies.
    pub(super) fn password(&self) -> PathBuf {
        self.root.join(PASSWORD_FILE)
    }

    /// The keyring, opened by `seal`.
    pub(super) fn keyring(&self, seal: &Seal) -> Result<Keyring, Failure> {
        let path = self.key();
        let missing = || {
            let what = format!("{} is missing, and without it no file opens", path.display());
            Failure::new(what, "restore it from a copy, or remove this node's data and join it anew")
        };
        let (vault, bundle) = Vault::open(&path, seal)?.ok_or_else(missing)?;
        Ok(Keyring::from_bundle(&bundle)?.read_from(Arc::new(vault)))
    }

    /// Puts a new keyring under `seal`.
    pub(super) fn keep(&self, keyring: Keyring, seal: &Seal) -> Result<Keyring, Failure> {
        Ok(keyring.kept_by(Arc::new(Vault::create(&self.key(), seal)?))?)
    }

    /// Refuses a folder that holds data of a node, but not who that node is.
    pub(super) fn require_empty(&self) -> Result<(), Failure> {
        let Some(left) = [self.store(), self.key()].into_iter().find(|path| path.exists()) else {
            return Ok(());
        };
        let what = format!(
            "{} is there, but nothing in {} says which cluster it belongs to",
            left.display(),
            self.raft().display()
        );
        let fix = "put back what is missing; or remove this node from the cluster, empty its data folder and join it \
                   under a new number";
        Err(Failure::new(what, fix))
    }

    /// What the last start began and did not end.
    pub(super) fn unfinished(&self) -> Result<Option<Founding>, Fault> {
        let note = read_if_present(&self.note())?;
        let known = [Founding::Join, Founding::Restore];
        let read = |note: Vec<u8>| known.into_iter().find(|founding| founding.note() == note);
        Ok(note.map(|note| read(note).unwrap_or(Founding::Begin)))
    }

    /// Notes that a founding begins.
    pub(super) fn begin(&self, founding: Founding) -> Result<(), Fault> {
        write_secret(&self.note(), founding.note())
    }

    /// Notes that the founding is whole: from now on the data is worth keeping.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        let failed = |error| Fault::new(format!("remove {}", self.note().display()), error);
        fs::remove_file(self.note()).map_err(failed)?;
        File::open(&self.root).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// Removes what an unfinished founding left. Nobody was answered anything out of it.
    pub(super) fn undo(&self) -> Result<(), Fault> {
        for path in [self.raft(), self.store()] {
            removed(&path, fs::remove_dir_all(&path))?;
        }
        removed(&self.key(), fs::remove_file(self.key()))
    }

    /// Removes what an unfinished restore left, but for what it fetched.
    pub(super) fn undo_restore(&self) -> Result<(), Fault> {
        removed(&self.raft(), fs::remove_dir_all(self.raft()))?;
        crate::app::undo_laid(&self.store())?;
        removed(&self.key(), fs::remove_file(self.key()))
    }

    /// Where a note about a restore lies.
    pub(super) fn restored(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn note(&self) -> PathBuf {
        self.root.join("unfinished")
    }
}

/// Whether the data folder at `path` is that of a node that belongs to a cluster.
pub fn is_member(path: &Path) -> bool {
    raft::Replica::exists(&path.join("raft")) && !path.join("unfinished").exists()
}

/// Puts the keyring of a stopped node under another seal.
pub fn reseal(config: &NodeConfig, to: &Seal) -> Result<(), Failure> {
    let folder = DataFolder::claim(&config.data_dir)?;
    let keyring = folder.keyring(&config.seal)?;
    folder.keep(keyring, to).map(drop)
}

fn removed(path: &Path, outcome: std::io::Result<()>) -> Result<(), Fault> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::new(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

fn taken(lock: &mut File, path: &Path) -> Failure {
    let mut pid = String::new();
    let pid = match lock.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!(" (pid {})", pid.trim()),
        _ => String::new(),
    };
    let what = format!("the data folder {} is in use by another threatflow{pid}", path.display());
    Failure::new(what, "stop that one, or name another folder with --data-dir")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_process_is_told_who_has_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let first = DataFolder::claim(place.path()).unwrap();
        let refused = DataFolder::claim(place.path()).err().unwrap().to_string();
        assert!(refused.contains(&format!("(pid {})", std::process::id())), "{refused}");
        drop(first);
        assert!(DataFolder::claim(place.path()).is_ok());
    }

    #[test]
    fn a_keyring_is_kept_and_read_again_and_a_missing_one_is_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::claim(place.path()).unwrap();
        assert!(folder.keyring(&Seal::DataDir).err().unwrap().to_string().contains("missing"));
        let kept = folder.keep(Keyring::create().unwrap(), &Seal::DataDir).unwrap();
        let again = folder.keyring(&Seal::DataDir).unwrap();
        assert_eq!(again.bundle().unwrap(), kept.bundle().unwrap());
        // A change is kept as it is made.
        again.learn(2, vec![2; 32].into()).unwrap();
        assert_eq!(folder.keyring(&Seal::DataDir).unwrap().generations().len(), 2);
    }

    #[test]
    fn data_of_nobody_is_not_founded_upon() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::claim(place.path()).unwrap();
        assert!(folder.require_empty().is_ok());
        fs::write(folder.key(), "sealed").unwrap();
        let refused = folder.require_empty().err().unwrap().to_string();
        assert!(refused.contains("cluster.key is there") && refused.contains("new number"), "{refused}");
    }

    #[test]
    fn an_unfinished_founding_is_remembered_and_undone() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::claim(place.path()).unwrap();
        assert_eq!(folder.unfinished().unwrap(), None);
        folder.begin(Founding::Join).unwrap();
        folder.keep(Keyring::create().unwrap(), &Seal::DataDir).unwrap();
        fs::create_dir_all(folder.raft()).unwrap();
        assert_eq!(folder.unfinished().unwrap(), Some(Founding::Join));
        folder.undo().unwrap();
        assert!(!folder.raft().exists() && !folder.key().exists());
        folder.finish().unwrap();
        assert_eq!(folder.unfinished().unwrap(), None);
    }
}
