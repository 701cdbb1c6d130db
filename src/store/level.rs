//! Levels: which one is in force, and which files have not come to it yet.
//!
//! What is known about a file's level is never too high: levels do not fall, and an unknown one counts as the first.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::{
    files::{Store, lock},
    migrate::{LEVEL, unknown_level},
    writer::{peek, read_state},
};
use crate::kernel::{Fault, FileId, OrgId};

impl Store {
    /// The level in force, as far as entries have been applied here; 0 before the cluster's data is here.
    pub fn level(&self) -> u32 {
        self.level.load(Ordering::Acquire)
    }

    /// The files not known to have come to the level in force, in order.
    pub fn below(&self) -> Vec<FileId> {
        let level = self.level();
        let marks = lock(&self.marks);
        marks.list().map(|(file, _)| file).filter(|file| marks.level(*file) < level).collect()
    }

    /// Takes note of the level that a file was seen at.
    pub fn saw_level(&self, file: FileId, level: u32) {
        lock(&self.marks).at_level(file, level);
    }

    /// Learns the level in force from the system file on disk.
    pub(super) fn learn_level(&self) -> Result<(), Fault> {
        let state = if self.exists(OrgId::SYSTEM) { peek(self, OrgId::SYSTEM)? } else { None };
        if let Some(state) = state {
            self.level.store(state.level, Ordering::Release);
        }
        Ok(())
    }

    /// A file that came from another node may be of a level that this binary does not know.
    pub(super) fn require_known_level(&self) -> Result<(), Fault> {
        let level = self.level();
        if level > LEVEL { Err(unknown_level(level, None)) } else { Ok(()) }
    }
}

/// The level of a file, in the same view as other queries: those of a newer level ask it first.
pub fn level_of(connection: &Connection) -> Result<u32, Fault> {
    read_state(connection).map(|state| state.level)
}
