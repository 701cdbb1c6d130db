//! The few file operations the log is made of, as a trait, so that the crash test can record each
//! of them and cut the power between any two.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FallocateFlags, fallocate};

/// One folder of log files.
pub(super) trait Disk: Send + Sync + 'static {
    /// Names of all files in the folder.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, or empties an existing one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames; durable after [`Disk::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Unlinks; durable after [`Disk::sync_names`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable (`fsync` of the folder).
    fn sync_names(&self) -> io::Result<()>;
    /// A number no file of this log has seen before.
    fn salt(&self) -> io::Result<u64>;
}

/// One log file. All offsets and sizes are bytes.
pub(super) trait DiskFile: Send + Sync + 'static {
    /// Size now.
    fn size(&self) -> io::Result<u64>;
    /// Fills `into` from `offset`, or fails.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Allocates blocks up to `size`, so that a full disk is met here and not in the middle of a batch.
    fn reserve(&self, size: u64) -> io::Result<()>;
    /// Sets the size.
    fn cut(&self, size: u64) -> io::Result<()>;
    /// `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    /// `fsync`.
    fn sync_all(&self) -> io::Result<()>;
}

/// A folder of the file system, held by this process alone.
pub(super) struct RealDisk {
    folder: PathBuf,
    /// Locked for as long as the log is open: two writers would destroy it.
    _lock: File,
}

impl RealDisk {
    /// Makes the folder if need be and locks it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("this log is open already, here or in another process"))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }
}

impl Disk for RealDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        named(&self.folder, fs::read_dir(&self.folder))?
            .map(|found| found.map(|found| found.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = named(&path, OpenOptions::new().read(true).write(true).open(&path))?;
        Ok(Arc::new(RealFile { file, path }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = named(&path, made)?;
        // A new segment gets its own name when it is whole, and messages may come any time after.
        let path =
            if path.extension().is_some_and(|last| last == "new") { path.with_extension("") } else { path };
        Ok(Arc::new(RealFile { file, path }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.folder.join(from);
        named(&from, fs::rename(&from, self.folder.join(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        named(&path, fs::remove_file(&path))
    }

    fn sync_names(&self) -> io::Result<()> {
        named(&self.folder, File::open(&self.folder).and_then(|folder| folder.sync_all()))
    }

    fn salt(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

struct RealFile {
    file: File,
    /// For messages.
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(named(&self.path, self.file.metadata())?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        named(&self.path, self.file.read_exact_at(into, offset))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        named(&self.path, self.file.write_all_at(bytes, offset))
    }

    fn reserve(&self, size: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, size) {
            // Some file systems cannot; the zeros that are written next allocate as well.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => named(&self.path, other.map_err(io::Error::from)),
        }
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        named(&self.path, self.file.set_len(size))
    }

    fn sync_data(&self) -> io::Result<()> {
        named(&self.path, self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        named(&self.path, self.file.sync_all())
    }
}

/// Whoever reads the message must find the file.
fn named<T>(path: &Path, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|cause| io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
}
