//! A folder as a bucket: a file per key, whole or not at all, created once. Works on network file systems: what it rests
//! on is that a hard link is made by one of many who try, and that locks are seen by all nodes.

use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt;
use ring::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, flock};

use super::{Cause, Condition, Entry, Opened, Version, fault::Trouble};
use crate::kernel::{Millis, to_hex};

/// Where files are written before they get their names; no key begins with a dot.
const UNNAMED: &str = ".unnamed";
/// Held by whoever replaces a file.
const LOCK: &str = ".lock";
/// Larger files have no version of their own.
const VERSIONED_BYTES_MAX: u64 = 64 << 20;
const READ_BYTES: usize = 256 << 10;
/// An unnamed file this old belongs to a process that died.
const ABANDONED: Duration = Duration::from_hours(24);

#[derive(Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// An empty file without a name, in the folder's own file system.
    fn unnamed(&self) -> io::Result<(PathBuf, File)> {
        // Made here and not by create_dir_all: a folder that is not mounted must not be filled.
        if !self.root.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "the folder is not there; is it mounted?",
            ));
        }
        let folder = self.root.join(UNNAMED);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = folder.join(uuid::Uuid::new_v4().to_string());
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok((path, file))
    }

    /// Removes what processes left that died while they wrote.
    pub(super) fn sweep(&self, now: Millis) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(UNNAMED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if modified(&entry.metadata()?).plus(i64::try_from(ABANDONED.as_millis()).unwrap_or(i64::MAX))
                < now
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Lets `write` fill a file, then gives the file its name under `condition`.
    pub(super) fn put(
        &self,
        key: &str,
        at: Option<Millis>,
        condition: Condition<'_>,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<Version, Trouble> {
        if matches!(condition, Condition::Absent) && self.path(key).exists() {
            return Err(Trouble::new(Cause::Precondition, "the file is there already"));
        }
        let (path, mut file) = self.unnamed().map_err(|error| self.trouble(&error))?;
        let done = write(&mut file)
            .and_then(|()| stamp(&file, at))
            .and_then(|()| file.sync_all())
            .map_err(|error| self.trouble(&error))
            .and_then(|()| self.publish(&path, key, condition));
        // Left behind only by a crash, and then swept.
        let _ = fs::remove_file(&path);
        done
    }

    fn publish(&self, unnamed: &Path, key: &str, condition: Condition<'_>) -> Result<Version, Trouble> {
        let failed = |error: io::Error| self.trouble(&error);
        let version = version(&mut File::open(unnamed).map_err(failed)?).map_err(failed)?;
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        make_folders(&self.root, parent).map_err(failed)?;
        match condition {
            Condition::Absent => self.link(unnamed, &path)?,
            Condition::Is(expected) => {
                let _lock = self.lock().map_err(failed)?;
                let mut present = match File::open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(Trouble::new(Cause::Precondition, "there is no such file"));
                    }
                    present => present.map_err(failed)?,
                };
                if self::version(&mut present).map_err(failed)? != *expected {
                    return Err(Trouble::new(Cause::Precondition, "the file is another than expected"));
                }
                fs::rename(unnamed, &path).map_err(failed)?;
            }
        }
        sync_folder(parent).map_err(failed)?;
        Ok(version)
    }

    /// Gives a file its name if no other has it.
    fn link(&self, unnamed: &Path, path: &Path) -> Result<(), Trouble> {
        let error = match fs::hard_link(unnamed, path) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // A server whose answer was lost is asked again, and then finds our own link.
        let linked = fs::metadata(unnamed).is_ok_and(|file| file.nlink() > 1);
        match error.kind() {
            _ if linked => Ok(()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
                // File systems without hard links: the lock does what the link would.
                let _lock = self.lock().map_err(|error| self.trouble(&error))?;
                if fs::exists(path).map_err(|error| self.trouble(&error))? {
                    return Err(Trouble::new(Cause::Precondition, "the file is there already"));
                }
                fs::rename(unnamed, path).map_err(|error| self.trouble(&error))
            }
            _ => Err(self.trouble(&error)),
        }
    }

    /// Waits for the lock of the folder; it is free when this is dropped, or its process dies.
    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.root.join(LOCK))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    pub(super) fn open(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        expected: Option<&Version>,
    ) -> Result<Opened, Trouble> {
        let failed = |error: io::Error| self.trouble(&error);
        let mut file = File::open(self.path(key)).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let version = match range {
            Some(_) if expected.is_none() => Version(String::new()),
            _ => version(&mut file).map_err(failed)?,
        };
        if expected.is_some_and(|expected| *expected != version) {
            return Err(Trouble::new(Cause::Precondition, "the file is another than expected"));
        }
        let range = range.unwrap_or(0..u64::MAX);
        let content = futures_util::stream::try_unfold((file, range.start), move |(file, at)| async move {
            let left = range.end.min(bytes).saturating_sub(at);
            if left == 0 {
                return Ok(None);
            }
            let read = move || {
                let mut part = vec![0; READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES))];
                file.read_exact_at(&mut part, at).map(|()| (file, part))
            };
            let (file, part) = blocking(read).await?.map_err(|error| Trouble::of_file(&error))?;
            let next = at + part.len() as u64;
            Ok(Some((Bytes::from(part), (file, next))))
        });
        Ok(Opened { bytes, version, content: content.boxed() })
    }

    /// Everything below `prefix` after a key, in the order of S3: by bytes.
    pub(super) fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<Entry>, Trouble> {
        let mut found = Vec::new();
        // Only the folder that the prefix lies in has to be walked.
        let within = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        match walk(&self.path(within), within, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !within.is_empty() => {}
            walked => walked.map_err(|error| self.trouble(&error))?,
        }
        found.retain(|entry| {
            entry.key.starts_with(prefix) && after.is_none_or(|after| entry.key.as_str() > after)
        });
        found.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(found)
    }

    pub(super) fn delete(&self, keys: &[String]) -> Result<(), Trouble> {
        let mut folders = Vec::new();
        for key in keys {
            let path = self.path(key);
            match fs::remove_file(&path) {
                Ok(()) => folders.extend(path.parent().map(Path::to_owned)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.trouble(&error)),
            }
        }
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| sync_folder(folder)).map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        if self.root.is_dir() {
            return Trouble::of_file(error);
        }
        Trouble::new(Cause::NoSuchBucket, "the folder is not there; is it mounted?")
    }
}

/// Adds every file below `folder`, whose key is `key`.
fn walk(folder: &Path, key: &str, found: &mut Vec<Entry>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned)
        else {
            continue;
        };
        let key = if key.is_empty() { name } else { format!("{key}/{name}") };
        // Others may delete while this walks.
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => walk(&entry.path(), &key, found)?,
            Ok(meta) => {
                found.push(Entry { key, bytes: meta.len(), at: modified(&meta) });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::new(Cause::Other, error.to_string()))
}

/// What is written is only hashed.
struct Hash(Context);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file's version is its content: times and inodes are not what network file systems agree on. Large files are
/// created and never replaced, so that nobody asks for theirs.
fn version(file: &mut File) -> io::Result<Version> {
    let bytes = file.metadata()?.len();
    if bytes > VERSIONED_BYTES_MAX {
        return Ok(Version(format!("{bytes} bytes")));
    }
    let mut hash = Hash(Context::new(&SHA256));
    io::copy(file, &mut hash)?;
    Ok(Version(to_hex(hash.0.finish().as_ref())))
}

/// litestream takes a file's time of change for the time of its transaction.
fn stamp(file: &File, at: Option<Millis>) -> io::Result<()> {
    let Some(ms) = at.and_then(|at| u64::try_from(at.0).ok()) else { return Ok(()) };
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_millis(ms)))
}

fn modified(meta: &fs::Metadata) -> Millis {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Makes the folders from `root` down to `folder`, each durable before there is anything in it.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    make_folders(root, parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
