//! A disk in memory that records what is done to it and can say what a power cut would leave.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::{
    super::disk::{Disk, DiskFile},
    Chance,
};

const SECTOR: usize = 512;

/// One recorded operation. Files are named by number, since they are renamed.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Create(String, usize),
    Write(usize, usize, Vec<u8>),
    Cut(usize, usize),
    Sync(usize),
    Rename(String, String),
    Remove(String),
    SyncNames,
    /// Request number was handed to the log.
    Asked(usize),
    /// Request number was acknowledged.
    Acked(usize),
}

/// Content of a disk: names, and bytes by file number.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<String, usize>,
    pub(super) files: Vec<Vec<u8>>,
}

impl Image {
    fn apply_name(&mut self, act: &Act) {
        match act {
            Act::Create(name, file) => {
                self.names.insert(name.clone(), *file);
            }
            Act::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Act::Remove(name) => {
                self.names.remove(name);
            }
            _ => {}
        }
    }

    fn apply_bytes(&mut self, act: &Act) {
        match act {
            Act::Write(file, at, bytes) => {
                let content = &mut self.files[*file];
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Act::Cut(file, size) => self.files[*file].resize(*size, 0),
            _ => {}
        }
    }
}

/// How a sync or a write misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// `fdatasync` answers before anything is durable.
    LyingSync,
    /// Fails once, at the sync with this number; later ones succeed.
    FailSync(usize),
    /// Fails once, at the write with this number; later ones succeed.
    FailWrite(usize),
}

#[derive(Default)]
struct Inside {
    start: Image,
    now: Image,
    acts: Vec<Act>,
    fault: Fault,
    syncs: usize,
    writes: usize,
    salts: u64,
}

/// The disk.
#[derive(Clone, Default)]
pub(super) struct FakeDisk(Arc<Mutex<Inside>>);

impl FakeDisk {
    pub(super) fn new(start: Image, fault: Fault, salts: u64) -> Self {
        Self(Arc::new(Mutex::new(Inside { now: start.clone(), start, fault, salts, ..Inside::default() })))
    }

    pub(super) fn note(&self, act: Act) {
        self.0.lock().unwrap().acts.push(act);
    }

    pub(super) fn acts(&self) -> Vec<Act> {
        self.0.lock().unwrap().acts.clone()
    }

    pub(super) fn now(&self) -> Image {
        self.0.lock().unwrap().now.clone()
    }

    /// What is left when the power goes after `cut` operations.
    pub(super) fn crash(&self, cut: usize, chance: &mut Chance) -> Image {
        let inside = self.0.lock().unwrap();
        let mut left = inside.start.clone();
        left.files.resize(inside.now.files.len(), Vec::new());
        let mut loose: Vec<Act> = Vec::new();
        for act in &inside.acts[..cut] {
            match act {
                Act::Sync(file) => loose.retain(|act| match act {
                    Act::Write(of, ..) | Act::Cut(of, _) if of == file => {
                        left.apply_bytes(act);
                        false
                    }
                    _ => true,
                }),
                Act::SyncNames => loose.retain(|act| match act {
                    Act::Create(..) | Act::Rename(..) | Act::Remove(_) => {
                        left.apply_name(act);
                        false
                    }
                    _ => true,
                }),
                Act::Asked(_) | Act::Acked(_) => {}
                other => loose.push(other.clone()),
            }
        }
        // How likely a loose sector or name is to have reached the disk: never, always, or in part.
        let keep = [0, 1, 4, 7, 8][chance.below(5) as usize];
        for act in &loose {
            match act {
                Act::Write(file, at, bytes) => {
                    for (from, piece) in sectors(*at, bytes) {
                        if chance.below(8) < keep {
                            left.apply_bytes(&Act::Write(*file, from, piece.to_vec()));
                        }
                    }
                }
                other if chance.below(8) < keep => {
                    left.apply_bytes(other);
                    left.apply_name(other);
                }
                _ => {}
            }
        }
        left
    }
}

/// Cuts a write at the borders of sectors.
fn sectors(at: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < bytes.len() {
        let end = (((at + done) / SECTOR + 1) * SECTOR - at).min(bytes.len());
        pieces.push((at + done, &bytes[done..end]));
        done = end;
    }
    pieces
}

impl Disk for FakeDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().now.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = *self.0.lock().unwrap().now.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FakeFile(self.0.clone(), file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inside = self.0.lock().unwrap();
        let file = inside.now.files.len();
        inside.now.files.push(Vec::new());
        let act = Act::Create(name.to_owned(), file);
        inside.now.apply_name(&act);
        inside.acts.push(act);
        Ok(Arc::new(FakeFile(self.0.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        let act = Act::Rename(from.to_owned(), to.to_owned());
        inside.now.apply_name(&act);
        inside.acts.push(act);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        let act = Act::Remove(name.to_owned());
        inside.now.apply_name(&act);
        inside.acts.push(act);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.note(Act::SyncNames);
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        let mut inside = self.0.lock().unwrap();
        inside.salts += 1;
        Ok(Chance(inside.salts).next())
    }
}

struct FakeFile(Arc<Mutex<Inside>>, usize);

impl DiskFile for FakeFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.files[self.1].len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let inside = self.0.lock().unwrap();
        let from = inside.now.files[self.1].get(offset as usize..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.writes += 1;
        if inside.fault == Fault::FailWrite(inside.writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let act = Act::Write(self.1, offset as usize, bytes.to_vec());
        inside.now.apply_bytes(&act);
        inside.acts.push(act);
        Ok(())
    }

    fn reserve(&self, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        let act = Act::Cut(self.1, size as usize);
        inside.now.apply_bytes(&act);
        inside.acts.push(act);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.syncs += 1;
        if inside.fault == Fault::FailSync(inside.syncs) {
            return Err(io::Error::other("the disk lost a write"));
        }
        if inside.fault != Fault::LyingSync {
            inside.acts.push(Act::Sync(self.1));
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.lock().unwrap().acts.push(Act::Sync(self.1));
        Ok(())
    }
}
