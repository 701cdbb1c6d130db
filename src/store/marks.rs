//! Where each file stands, so that a cold file need not be opened to learn it, and which of them have effects on
//! their way to other files, so that nobody need look into all to find those.
//!
//! The record on disk is written at checkpoints. A file that was written after the last one has a higher
//! mark than its record; the log is replayed from the checkpoint, opens that file and learns the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::durable::{read_if_present, write_secret};
use crate::kernel::{Fault, FileId};

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Marks {
    at: BTreeMap<FileId, u64>,
    /// Levels above the first, where they are known; never too high.
    levels: BTreeMap<FileId, u32>,
    /// Files that may have effects to send: never one too few.
    #[serde(default)]
    sending: BTreeSet<FileId>,
}

impl Marks {
    const NAME: &str = "marks.json";

    pub(super) fn load(root: &Path) -> Result<Self, Fault> {
        let path = root.join(Self::NAME);
        let Some(bytes) = read_if_present(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| {
            let cure = "remove it: where each file stands is then read from the file itself";
            Fault::found(format!("read {}: {error}; {cure}", path.display()))
        })
    }

    /// The content for [`Marks::save`], taken before the files are made durable.
    pub(super) fn record(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(self).map_err(|error| Fault::new("write the marks as JSON", error))
    }

    pub(super) fn save(root: &Path, record: &[u8]) -> Result<(), Fault> {
        write_secret(&root.join(Self::NAME), record)
    }

    pub(super) fn get(&self, file: FileId) -> Option<u64> {
        self.at.get(&file).copied()
    }

    pub(super) fn set(&mut self, file: FileId, mark: u64) {
        self.at.insert(file, mark);
    }

    pub(super) fn level(&self, file: FileId) -> u32 {
        self.levels.get(&file).copied().unwrap_or(1)
    }

    pub(super) fn at_level(&mut self, file: FileId, level: u32) {
        if level > 1 {
            self.levels.insert(file, level);
        }
    }

    pub(super) fn remove(&mut self, file: FileId) {
        self.at.remove(&file);
        self.levels.remove(&file);
        self.sending.remove(&file);
    }

    pub(super) fn set_sending(&mut self, file: FileId, sending: bool) {
        if sending {
            self.sending.insert(file);
        } else {
            self.sending.remove(&file);
        }
    }

    pub(super) fn sending(&self) -> &BTreeSet<FileId> {
        &self.sending
    }

    pub(super) fn list(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        self.at.iter().map(|(file, mark)| (*file, *mark))
    }
}
