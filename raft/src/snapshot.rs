//! Snapshots: a manifest of files, of which only those that differ are moved.
//!
//! A snapshot is *fuzzy*. It stands for one log index S, but no writer is stopped to take it: the leader
//! lists its files and exports each while apply goes on. Every file contains at least everything up to S,
//! perhaps more, and carries its own mark; the follower applies the log from S + 1 and each file skips
//! what it already holds. So the set becomes consistent as soon as the follower has applied up to the
//! newest mark it received.
//!
//! Which files stay. Equal name and mark mean equal content (apply is deterministic), so the follower asks
//! only for the others. The decision is taken again inside [`Staged::install`], where apply cannot run. A
//! file kept then is one whose mark still equals the leader's. It cannot have moved on between: a mark
//! above S would mean that this node has applied an entry above S, and the engine drops a snapshot at or
//! below what is committed here before it comes to an install; a mark at or below S that the leader's file
//! does not show contradicts determinism. A file that is neither equal nor staged is therefore a fault.
//!
//! A file deleted by the leader while the transfer runs is dropped from the manifest; the follower
//! applies the deletion from its log. Until then it may meet entries for a file it does not have: the
//! machine skips those.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    clock::system_ms,
    contract::{Fault, FileMark, Machine},
    machine::Host,
    task::off_thread,
    types::{SnapshotMeta, TypeConfig, Vote},
    wire::{CallError, Offer, Piece, Want, client::Link, encode, kind},
};

/// The engine's snapshot.
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

const PART_BYTES: usize = 1 << 20;
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
const PART_TIMEOUT: Duration = Duration::from_secs(10);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(100);

/// What the engine carries about as "the snapshot".
pub(crate) enum SnapshotData {
    /// The machine's files as they are when they are shipped.
    Live,
    /// Files received and verified, to be installed.
    Staged(Staged),
}

/// Files received from the leader.
pub(crate) struct Staged {
    folder: PathBuf,
    manifest: BTreeMap<String, FileMark>,
    received: BTreeMap<String, FileMark>,
    /// No entry in them has a later stamp.
    pub(crate) newest_ms: u64,
}

impl Staged {
    /// Replaces the machine's files. Runs while apply cannot.
    pub(crate) fn install(self, machine: &dyn Machine) -> Result<(), Fault> {
        let here: BTreeMap<String, u64> = machine.files()?.into_iter().map(|f| (f.name, f.mark)).collect();
        let mut keep = Vec::new();
        for (name, file) in self.manifest {
            if self.received.contains_key(&name) {
                continue;
            }
            if here.get(&name) != Some(&file.mark) {
                return Err(Fault::found("a file of a snapshot is neither staged nor the same here"));
            }
            keep.push(file);
        }
        let take: Vec<FileMark> = self.received.into_values().collect();
        machine.install(&self.folder, &keep, &take)?;
        let _ = fs::remove_dir_all(&self.folder); // what stays behind goes at the next start
        tracing::info!(kept = keep.len(), taken = take.len(), "installed a snapshot");
        Ok(())
    }
}

/// The leader's side.
#[derive(Clone)]
pub(crate) struct Shipper {
    host: Arc<Host>,
    folder: PathBuf,
    newest: Arc<AtomicU64>,
}

impl Shipper {
    /// `folder` is the replica's; leftovers of an earlier process are removed.
    pub(crate) fn new(host: Arc<Host>, folder: &Path) -> Result<Self, Fault> {
        let folder = folder.join("outgoing");
        empty(&folder)?;
        // Numbers differ from those of an earlier process, so that a follower cannot mix two transfers.
        Ok(Self { host, folder, newest: Arc::new(AtomicU64::new(system_ms() << 10)) })
    }

    /// Brings the follower at the other end of `link` to the leader's files. Answers the follower's vote.
    pub(crate) async fn ship(&self, link: &Link, vote: Vote, meta: SnapshotMeta) -> Result<Vote, CallError> {
        let transfer = self.newest.fetch_add(1, Ordering::Relaxed);
        let mut files = self.host.files().await.map_err(here)?;
        // Each comes with its file. Of ten thousand files that stay they would be most of what is sent.
        for file in &mut files {
            file.seal.clear();
        }
        let newest_ms = self.host.clock.newest();
        let offer = Offer { transfer, vote, meta, files, newest_ms };
        self.host.counters.snapshot_bytes_sent.add(encode(&offer).map_err(here)?.len() as u64);
        let names = match link.call(kind::SNAPSHOT_OFFER, &offer, OFFER_TIMEOUT).await? {
            Want::HigherVote(vote) => return Ok(vote),
            Want::Files(names) => names,
        };
        tracing::info!(offered = offer.files.len(), wanted = names.len(), "shipping a snapshot");
        for (place, name) in names.into_iter().enumerate() {
            let temporary = Temporary(self.folder.join(format!("{transfer}-{place}")));
            self.ship_file(link, transfer, name, &temporary.0).await?;
        }
        let vote = link.call(kind::SNAPSHOT_COMMIT, &transfer, INSTALL_TIMEOUT).await?;
        self.host.counters.snapshot_sent();
        Ok(vote)
    }

    async fn ship_file(&self, link: &Link, transfer: u64, name: String, to: &Path) -> Result<(), CallError> {
        let (wanted, target) = (name.clone(), to.to_owned());
        let exported = self.host.beside_apply(move |machine| machine.export(&wanted, &target)).await;
        let Some(file) = exported.map_err(here)? else {
            return link.call(kind::SNAPSHOT_PIECE, &Piece::Gone { transfer, name }, PART_TIMEOUT).await;
        };
        let mut source = fs::File::open(to).map_err(here)?;
        let mut hash = Context::new(&SHA256);
        let mut offset = 0;
        loop {
            let read = off_thread(move || read_part(source));
            let (back, part) = read.await.map_err(here)?.map_err(here)?;
            source = back;
            hash.update(&part);
            let last = part.len() < PART_BYTES;
            let sha256 = last.then(|| finish(hash.clone()));
            let length = part.len() as u64;
            let piece = Piece::Part { transfer, file: file.clone(), offset, bytes: part, sha256 };
            let () = link.call(kind::SNAPSHOT_PIECE, &piece, PART_TIMEOUT).await?;
            self.host.counters.snapshot_bytes_sent.add(length);
            if last {
                return Ok(());
            }
            offset += length;
        }
    }
}

/// A file that goes when the transfer ends, however it ends.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn here(error: impl std::fmt::Display) -> CallError {
    CallError::Unsent(error.to_string())
}

fn read_part(mut source: fs::File) -> std::io::Result<(fs::File, Bytes)> {
    let mut part = Vec::with_capacity(PART_BYTES);
    Read::by_ref(&mut source).take(PART_BYTES as u64).read_to_end(&mut part)?;
    Ok((source, part.into()))
}

fn finish(hash: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

/// Makes the folder exist and be empty.
fn empty(folder: &Path) -> Result<(), Fault> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| Fault::new("clear a transfer folder", e))?;
    }
    fs::create_dir_all(folder).map_err(|e| Fault::new("make a transfer folder", e))
}

/// The follower's side: at most one transfer at a time; a new offer ends the one before.
pub(crate) struct Receiver {
    host: Arc<Host>,
    folder: PathBuf,
    current: Arc<Mutex<Option<Incoming>>>,
}

/// A complete transfer on its way to the engine. While the guard lives no other transfer can begin, so
/// nothing clears the folder that is being installed from.
pub(crate) struct Arrived {
    pub(crate) vote: Vote,
    pub(crate) snapshot: Snapshot,
    pub(crate) guard: OwnedMutexGuard<Option<Incoming>>,
}

pub(crate) struct Incoming {
    transfer: u64,
    vote: Vote,
    meta: SnapshotMeta,
    staged: Staged,
    wanted: Vec<String>,
    open: Option<Open>,
}

/// The file that is arriving.
struct Open {
    name: String,
    file: fs::File,
    written: u64,
    hash: Context,
}

impl Receiver {
    /// `folder` is the replica's; leftovers of an earlier process are removed.
    pub(crate) fn new(host: Arc<Host>, folder: &Path) -> Result<Self, Fault> {
        let folder = folder.join("incoming");
        empty(&folder)?;
        Ok(Self { host, folder, current: Arc::default() })
    }

    /// Begins a transfer: answers the names of the files to send.
    pub(crate) async fn offer(&self, offer: Offer) -> Result<Vec<String>, Fault> {
        if offer.files.iter().any(|file| relative(&file.name).is_none()) {
            return Err(Fault::found("a snapshot names a file outside its folder"));
        }
        let mut current = self.current.lock().await;
        *current = None;
        empty(&self.folder)?;
        let files = self.host.files().await?;
        let here: BTreeMap<String, u64> = files.into_iter().map(|f| (f.name, f.mark)).collect();
        let missing = offer.files.iter().filter(|file| here.get(&file.name) != Some(&file.mark));
        let wanted: Vec<String> = missing.map(|file| file.name.clone()).collect();
        let manifest = offer.files.into_iter().map(|file| (file.name.clone(), file)).collect();
        let (transfer, vote, meta, newest_ms) = (offer.transfer, offer.vote, offer.meta, offer.newest_ms);
        let staged = Staged { folder: self.folder.clone(), manifest, received: BTreeMap::new(), newest_ms };
        let answer = wanted.clone();
        *current = Some(Incoming { transfer, vote, meta, staged, wanted, open: None });
        Ok(answer)
    }

    /// Takes a piece of the present transfer.
    pub(crate) async fn piece(&self, piece: Piece) -> Result<(), Fault> {
        if let Piece::Part { bytes, .. } = &piece {
            self.host.counters.snapshot_bytes_received.add(bytes.len() as u64);
        }
        let mut current = self.current.lock().await;
        let Some(mut incoming) = current.take() else { return Err(Fault::found("no transfer is open")) };
        // Not put back after an error: a transfer that went wrong is over, the leader starts another.
        let taken = off_thread(move || incoming.take(piece).map(|()| incoming)).await;
        *current = Some(taken??);
        Ok(())
    }

    /// Ends the transfer: answers what the engine installs.
    pub(crate) async fn commit(&self, transfer: u64) -> Result<Arrived, Fault> {
        let mut current = Arc::clone(&self.current).lock_owned().await;
        let Some(incoming) = current.take() else { return Err(Fault::found("no transfer is open")) };
        let complete = |i: &Incoming| {
            i.wanted.iter().all(|name| i.staged.received.contains_key(name)) && i.open.is_none()
        };
        if incoming.transfer != transfer || !complete(&incoming) {
            return Err(Fault::found("the transfer is not complete"));
        }
        sync_folders(&self.folder).map_err(|e| Fault::new("sync received files", e))?;
        let Incoming { vote, meta, staged, .. } = incoming;
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Staged(staged) };
        Ok(Arrived { vote, snapshot, guard: current })
    }
}

impl Incoming {
    fn take(&mut self, piece: Piece) -> Result<(), Fault> {
        match piece {
            Piece::Gone { transfer, name } => {
                self.belongs(transfer, &name)?;
                self.staged.manifest.remove(&name);
                self.wanted.retain(|wanted| *wanted != name);
                Ok(())
            }
            Piece::Part { transfer, file, offset, bytes, sha256 } => {
                self.belongs(transfer, &file.name)?;
                let mut open = self.opened(&file.name, offset)?;
                open.file.write_all(&bytes).map_err(|e| Fault::new("write a received file", e))?;
                open.hash.update(&bytes);
                open.written += bytes.len() as u64;
                let Some(expected) = sha256 else {
                    self.open = Some(open);
                    return Ok(());
                };
                if finish(open.hash) != expected {
                    return Err(Fault::found("a received file has another SHA-256 than the leader's"));
                }
                open.file.sync_all().map_err(|e| Fault::new("sync a received file", e))?;
                self.staged.received.insert(file.name.clone(), file);
                Ok(())
            }
        }
    }

    fn belongs(&self, transfer: u64, name: &String) -> Result<(), Fault> {
        if self.transfer == transfer && self.wanted.contains(name) {
            return Ok(());
        }
        Err(Fault::found("a piece of another transfer"))
    }

    fn opened(&mut self, name: &str, offset: u64) -> Result<Open, Fault> {
        match self.open.take() {
            Some(open) if open.name == name && open.written == offset => Ok(open),
            None if offset == 0 => {
                let path = relative(name).ok_or_else(|| Fault::found("a file outside the folder"))?;
                let path = self.staged.folder.join(path);
                let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
                });
                let file = made.map_err(|e| Fault::new("open a received file", e))?;
                Ok(Open { name: name.to_owned(), file, written: 0, hash: Context::new(&SHA256) })
            }
            _ => Err(Fault::found("a piece out of order")),
        }
    }
}

/// The name as a path below a folder, or nothing if it would lead out of it.
pub(crate) fn relative(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !name.is_empty()).then_some(path)
}

fn sync_folders(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
