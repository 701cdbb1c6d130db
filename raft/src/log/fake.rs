//! A disk in memory that can say what a power cut would leave: of the log's crash test, which cuts between any
//! two operations, and of the simulation, which cuts when it likes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::disk::{Disk, DiskFile};
use crate::sim::Chance;

const SECTOR: usize = 512;

/// One recorded operation. Files are named by number, since they are renamed.
#[derive(Clone, Debug)]
pub(crate) enum Act {
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
pub(crate) struct Image {
    pub(crate) names: BTreeMap<String, usize>,
    pub(crate) files: Vec<Vec<u8>>,
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
pub(crate) enum Fault {
    #[default]
    None,
    /// `fdatasync` answers before anything is durable.
    LyingSync,
    /// Fails once, at the sync with this number; later ones succeed.
    FailSync(usize),
    /// Fails once, at the write with this number; later ones succeed.
    FailWrite(usize),
}

/// What is on the platter for certain, and what may or may not be.
#[derive(Clone, Default)]
struct Platter {
    safe: Image,
    loose: Vec<Act>,
}

impl Platter {
    fn take(&mut self, act: Act) {
        match act {
            Act::Sync(file) => self.loose.retain(|act| match act {
                Act::Write(of, ..) | Act::Cut(of, _) if *of == file => {
                    self.safe.apply_bytes(act);
                    false
                }
                _ => true,
            }),
            Act::SyncNames => self.loose.retain(|act| match act {
                Act::Create(..) | Act::Rename(..) | Act::Remove(_) => {
                    self.safe.apply_name(act);
                    false
                }
                _ => true,
            }),
            Act::Asked(_) | Act::Acked(_) => {}
            Act::Create(_, file) => {
                self.safe.files.resize(self.safe.files.len().max(file + 1), Vec::new());
                self.loose.push(act);
            }
            Act::Write(file, at, bytes) => {
                // A small place that is written over and over is one loose sector, not thousands.
                let same = |act: &Act| matches!(act, Act::Write(of, from, old) if (*of, *from) == (file, at) && old.len() == bytes.len());
                if bytes.len() < SECTOR {
                    self.loose.retain(|act| !same(act));
                }
                self.loose.push(Act::Write(file, at, bytes));
            }
            other => self.loose.push(other),
        }
    }

    /// The power goes.
    fn cut(self, chance: &mut Chance) -> Image {
        let Self { safe: mut left, loose } = self;
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
        let named: Vec<usize> = left.names.values().copied().collect();
        for (file, content) in left.files.iter_mut().enumerate() {
            if !named.contains(&file) {
                *content = Vec::new();
            }
        }
        left
    }
}

/// What is kept of what was done.
enum Trail {
    /// Every operation.
    Whole(Image, Vec<Act>),
    /// Only what a power cut would leave now.
    Now(Platter),
}

impl Default for Trail {
    fn default() -> Self {
        Self::Now(Platter::default())
    }
}

#[derive(Default)]
struct Inside {
    now: Image,
    trail: Trail,
    fault: Fault,
    /// Operations until it dies, if it is to.
    life: Option<u64>,
    syncs: usize,
    writes: usize,
    salts: u64,
}

impl Inside {
    fn note(&mut self, act: Act) {
        match &mut self.trail {
            Trail::Whole(_, acts) => acts.push(act),
            Trail::Now(platter) => platter.take(act),
        }
    }

    fn alive(&mut self) -> io::Result<()> {
        match &mut self.life {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(life) => {
                *life -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The disk.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk(Arc<Mutex<Inside>>);

impl FakeDisk {
    pub(crate) fn new(start: Image, fault: Fault, salts: u64) -> Self {
        let trail = Trail::Whole(start.clone(), Vec::new());
        Self(Arc::new(Mutex::new(Inside { now: start, trail, fault, salts, ..Inside::default() })))
    }

    /// A disk that remembers only what a power cut would leave.
    pub(crate) fn running(start: Image, salts: u64) -> Self {
        let trail = Trail::Now(Platter { safe: start.clone(), loose: Vec::new() });
        Self(Arc::new(Mutex::new(Inside { now: start, trail, salts, ..Inside::default() })))
    }

    /// How it misbehaves from now on.
    pub(crate) fn misbehave(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    /// Every operation fails, after that many more.
    pub(crate) fn die_after(&self, operations: u64) {
        self.0.lock().unwrap().life = Some(operations);
    }

    /// What a power cut would leave at worst: what was synced and nothing else.
    pub(crate) fn safe(&self) -> Image {
        match &self.0.lock().unwrap().trail {
            Trail::Now(platter) => platter.safe.clone(),
            Trail::Whole(start, _) => start.clone(),
        }
    }

    /// What is left when the power goes now.
    pub(crate) fn cut_power(&self, chance: &mut Chance) -> Image {
        match &self.0.lock().unwrap().trail {
            Trail::Now(platter) => platter.clone().cut(chance),
            Trail::Whole(start, _) => start.clone(),
        }
    }

    pub(crate) fn note(&self, act: Act) {
        self.0.lock().unwrap().note(act);
    }

    pub(crate) fn acts(&self) -> Vec<Act> {
        match &self.0.lock().unwrap().trail {
            Trail::Whole(_, acts) => acts.clone(),
            Trail::Now(_) => Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Image {
        self.0.lock().unwrap().now.clone()
    }

    /// What is left when the power goes after `cut` operations.
    pub(crate) fn crash(&self, cut: usize, chance: &mut Chance) -> Image {
        let inside = self.0.lock().unwrap();
        let Trail::Whole(start, acts) = &inside.trail else { return Image::default() };
        let mut platter = Platter { safe: start.clone(), loose: Vec::new() };
        acts[..cut].iter().cloned().for_each(|act| platter.take(act));
        platter.cut(chance)
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
        inside.alive()?;
        let file = inside.now.files.len();
        inside.now.files.push(Vec::new());
        let act = Act::Create(name.to_owned(), file);
        inside.now.apply_name(&act);
        inside.note(act);
        Ok(Arc::new(FakeFile(self.0.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        let act = Act::Rename(from.to_owned(), to.to_owned());
        inside.now.apply_name(&act);
        inside.note(act);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        let act = Act::Remove(name.to_owned());
        inside.now.apply_name(&act);
        inside.note(act);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        inside.note(Act::SyncNames);
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
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
        inside.alive()?;
        inside.writes += 1;
        if inside.fault == Fault::FailWrite(inside.writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let act = Act::Write(self.1, offset as usize, bytes.to_vec());
        inside.now.apply_bytes(&act);
        inside.note(act);
        Ok(())
    }

    fn reserve(&self, _size: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        let act = Act::Cut(self.1, size as usize);
        inside.now.apply_bytes(&act);
        inside.note(act);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        inside.syncs += 1;
        if inside.fault == Fault::FailSync(inside.syncs) {
            return Err(io::Error::other("the disk lost a write"));
        }
        if inside.fault != Fault::LyingSync {
            inside.note(Act::Sync(self.1));
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.alive()?;
        inside.note(Act::Sync(self.1));
        Ok(())
    }
}
