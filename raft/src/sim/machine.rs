//! The model machine: four files, each a list of what was written to it.
//!
//! As the real one, it knows a write that was proposed twice by its value, shows readers what is settled only, skips
//! per file what it has, and after a power cut each file is somewhere between its last checkpoint and its last entry,
//! whatever the others are.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Chance, event::Event, ledger::Ledger};
use crate::contract::{Entry, Fault, FileMark, Machine, NodeId};

/// Number of files.
pub(crate) const FILES: u8 = 4;
/// Set in a value that was in the file already: the entry stands for nothing.
const REPEATED: u64 = 1 << 63;

/// What a client proposes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) file: u8,
    pub(crate) value: u64,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct File {
    /// Index and value of each entry.
    entries: Vec<(u64, u64)>,
}

impl File {
    fn mark(&self) -> u64 {
        self.entries.last().map_or(0, |(index, _)| *index)
    }
}

/// The files of a node: what readers see, what is written, what is durable.
#[derive(Clone, Default)]
pub(crate) struct Files {
    all: BTreeMap<u8, File>,
    seen: BTreeMap<u8, usize>,
    durable: BTreeMap<u8, usize>,
}

impl Files {
    /// What a power cut leaves.
    pub(crate) fn cut_power(mut self, chance: &mut Chance) -> Self {
        for (name, file) in &mut self.all {
            let durable = self.durable.get(name).copied().unwrap_or(0);
            let loose = file.entries.len() - durable;
            let kept = [0, loose, chance.below(loose as u64 + 1) as usize][chance.below(3) as usize];
            file.entries.truncate(durable + kept);
        }
        self.all.retain(|_, file| !file.entries.is_empty());
        self.seen = self.all.iter().map(|(name, file)| (*name, file.entries.len())).collect();
        self.durable.clone_from(&self.seen);
        self
    }
}

/// The machine of one node, from one start to the next power cut.
pub(crate) struct ModelMachine {
    node: NodeId,
    start: u64,
    ledger: Arc<Ledger>,
    files: Mutex<Files>,
    /// Planted: entries of a batch change places.
    swaps: bool,
}

impl ModelMachine {
    pub(crate) fn new(node: NodeId, start: u64, ledger: Arc<Ledger>, files: Files, swaps: bool) -> Self {
        Self { node, start, ledger, files: Mutex::new(files), swaps }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap()
    }

    /// The files as they are now.
    pub(crate) fn content(&self) -> Files {
        self.lock().clone()
    }

    /// What a reader sees.
    pub(crate) fn read(&self, file: u8) -> Vec<u64> {
        let files = self.lock();
        let seen = files.seen.get(&file).copied().unwrap_or(0);
        let entries = files.all.get(&file).map_or(&[][..], |all| &all.entries[..seen]);
        entries.iter().map(|(_, value)| *value).collect()
    }

    fn note(&self, event: Event) {
        self.ledger.of(self.node, self.start, event);
    }

    fn put(&self, entry: &Entry, files: &mut Files) -> Result<Bytes, Fault> {
        let Write { file, value } =
            postcard::from_bytes(&entry.body).map_err(|error| Fault::new("decode a write", error))?;
        let (node, start, index, at_ms) = (self.node, self.start, entry.index, entry.at_ms);
        self.note(Event::Given { node, start, index, at_ms, value });
        let content = files.all.entry(file).or_default();
        let first = content.entries.iter().position(|(_, known)| *known == value);
        let said = if first.is_some_and(|first| content.entries[first].0 != index) {
            value | REPEATED
        } else {
            value
        };
        let place = match content.entries.iter().rposition(|(at, _)| *at == index) {
            Some(place) => place,
            None if content.mark() > index => usize::MAX, // an entry was left out: no list has such a place
            None => {
                content.entries.push((index, said));
                content.entries.len() - 1
            }
        };
        self.note(Event::Applied { node, file, place, index, value: said });
        Ok(Bytes::copy_from_slice(&(first.unwrap_or(place) as u64).to_le_bytes()))
    }
}

impl Machine for ModelMachine {
    fn apply(&self, mut entries: Vec<Entry>) -> Result<Vec<Bytes>, Fault> {
        if self.swaps && entries.len() > 1 {
            entries.swap(0, 1);
        }
        let mut files = self.lock();
        entries.iter().map(|entry| self.put(entry, &mut files)).collect()
    }

    fn settle(&self) -> Result<(), Fault> {
        let mut files = self.lock();
        files.seen = files.all.iter().map(|(name, file)| (*name, file.entries.len())).collect();
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), Fault> {
        let mut files = self.lock();
        files.durable = files.seen.clone();
        Ok(())
    }

    fn files(&self) -> Result<Vec<FileMark>, Fault> {
        let files = self.lock();
        let marks = files.all.iter().map(|(name, file)| mark_of(*name, file));
        Ok(marks.collect())
    }

    fn export(&self, name: &str, to: &Path) -> Result<Option<FileMark>, Fault> {
        let files = self.lock();
        let Some((name, file)) = files.all.iter().find(|(of, _)| name_of(**of) == name) else {
            return Ok(None);
        };
        let bytes = postcard::to_stdvec(file).map_err(|error| Fault::new("encode a file", error))?;
        fs::write(to, bytes).map_err(|error| Fault::new("export a file", error))?;
        Ok(Some(mark_of(*name, file)))
    }

    fn install(&self, staged: &Path, keep: &[FileMark], take: &[FileMark]) -> Result<(), Fault> {
        let mut files = self.lock();
        let kept = |name: u8| keep.iter().any(|file| file.name == name_of(name));
        files.all.retain(|name, _| kept(*name));
        for mark in take {
            let bytes =
                fs::read(staged.join(&mark.name)).map_err(|error| Fault::new("read a file", error))?;
            let file: File =
                postcard::from_bytes(&bytes).map_err(|error| Fault::new("decode a file", error))?;
            let name = (0..FILES).find(|name| name_of(*name) == mark.name);
            files.all.insert(name.ok_or_else(|| Fault::found("an unknown file"))?, file);
        }
        files.seen = files.all.iter().map(|(name, file)| (*name, file.entries.len())).collect();
        files.durable = files.seen.clone();
        self.note(Event::Installed { node: self.node, start: self.start });
        Ok(())
    }
}

fn name_of(file: u8) -> String {
    format!("file-{file}")
}

fn mark_of(name: u8, file: &File) -> FileMark {
    FileMark { name: name_of(name), mark: file.mark(), seal: Vec::new() }
}
