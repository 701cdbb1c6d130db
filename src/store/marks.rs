//! The marks of all files, so that a cold file need not be opened to learn where it stands.
//!
//! The record on disk is written at checkpoints. A file that was written after the last one has a higher
//! mark than its record; the log is replayed from the checkpoint, opens that file and learns the truth.

use std::{collections::BTreeMap, path::Path};

use super::durable::{read_if_present, write_secret};
use crate::kernel::{Fault, FileId};

#[derive(Default)]
pub(super) struct Marks {
    by_file: BTreeMap<FileId, u64>,
}

impl Marks {
    const NAME: &str = "marks.json";

    pub(super) fn load(root: &Path) -> Result<Self, Fault> {
        let path = root.join(Self::NAME);
        let Some(bytes) = read_if_present(&path)? else { return Ok(Self::default()) };
        let by_file = serde_json::from_slice(&bytes).map_err(|error| {
            let cure = "remove it: where each file stands is then read from the file itself";
            Fault::found(format!("read {}: {error}; {cure}", path.display()))
        })?;
        Ok(Self { by_file })
    }

    /// The content for [`Marks::save`], taken before the files are made durable.
    pub(super) fn record(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(&self.by_file).map_err(|error| Fault::new("write the marks as JSON", error))
    }

    pub(super) fn save(root: &Path, record: &[u8]) -> Result<(), Fault> {
        write_secret(&root.join(Self::NAME), record)
    }

    pub(super) fn get(&self, file: FileId) -> Option<u64> {
        self.by_file.get(&file).copied()
    }

    pub(super) fn set(&mut self, file: FileId, mark: u64) {
        self.by_file.insert(file, mark);
    }

    pub(super) fn remove(&mut self, file: FileId) {
        self.by_file.remove(&file);
    }

    pub(super) fn list(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        self.by_file.iter().map(|(file, mark)| (*file, *mark))
    }
}
