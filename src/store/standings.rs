//! Where files stood lately: mark and sum after each of the last entries, so that a peer that is a little ahead or
//! behind can still be compared at an entry that both have passed.
//!
//! Of a file that changes often the last few standings are gone in a moment. So the last standing before each
//! multiple of [`STRIDE`] in the log stays longer: that is the same entry on every node, whatever its batches.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::sum::Sum;
use crate::kernel::FileId;

/// Where a file stands, as far as replicas can compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Index of the last entry applied.
    pub mark: u64,
    /// The sum of its rows after that entry.
    pub sum: Sum,
}

const STRIDE: u64 = 1024;
/// Standings of each kind that are kept of one file.
const LATEST_MAX: usize = 16;
const STRIDES_MAX: usize = 32;
/// Files of which any are kept: 1.6 KiB each at most.
const FILES_MAX: usize = 2048;

#[derive(Default)]
pub(super) struct Standings {
    by_file: BTreeMap<FileId, Recent>,
    clock: u64,
}

/// What one file passed through, oldest first.
#[derive(Default)]
pub(super) struct Recent {
    latest: VecDeque<Standing>,
    strides: VecDeque<Standing>,
    used: u64,
}

impl Recent {
    /// The file now stands here.
    pub(super) fn pass(&mut self, now: Standing) {
        let before = self.latest.back().copied();
        if let Some(before) = before.filter(|before| before.mark / STRIDE != now.mark / STRIDE) {
            self.strides.push_back(before);
        }
        self.latest.push_back(now);
        if self.latest.len() > LATEST_MAX {
            self.latest.pop_front();
        }
        if self.strides.len() > STRIDES_MAX {
            self.strides.pop_front();
        }
    }

    fn at(&self, mark: u64) -> Option<Standing> {
        self.latest.iter().chain(&self.strides).find(|standing| standing.mark == mark).copied()
    }

    /// What is worth comparing: the newest standing, and the newest that peers remember for long.
    fn comparable(&self) -> Vec<Standing> {
        self.latest.back().into_iter().chain(self.strides.back()).copied().collect()
    }
}

impl Standings {
    /// Takes over what `file` passed through, in order.
    pub(super) fn note(&mut self, file: FileId, passed: impl Iterator<Item = Standing>) {
        self.clock += 1;
        let recent = self.by_file.entry(file).or_default();
        recent.used = self.clock;
        passed.for_each(|standing| recent.pass(standing));
        if self.by_file.len() > FILES_MAX {
            let oldest = self.by_file.iter().min_by_key(|(_, recent)| recent.used).map(|(file, _)| *file);
            oldest.map(|oldest| self.by_file.remove(&oldest));
        }
    }

    pub(super) fn at(&self, file: FileId, mark: u64) -> Option<Standing> {
        self.by_file.get(&file)?.at(mark)
    }

    /// Files that changed since the process started, newest standings of each.
    pub(super) fn changed(&self) -> Vec<(FileId, Vec<Standing>)> {
        self.by_file.iter().map(|(file, recent)| (*file, recent.comparable())).collect()
    }

    pub(super) fn forget(&mut self, file: FileId) {
        self.by_file.remove(&file);
    }

    pub(super) fn forget_all(&mut self) {
        self.by_file.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(mark: u64) -> Standing {
        Standing { mark, sum: Sum::default() }
    }

    #[test]
    fn the_last_entry_before_each_stride_stays_when_the_latest_are_gone() {
        let (mut one, mut other) = (Standings::default(), Standings::default());
        // Two nodes with other batches, one far ahead.
        one.note(FileId::SYSTEM, (1..=5_000).filter(|mark| mark % 3 == 0).map(standing));
        for mark in (1..=20_000).filter(|mark| mark % 3 == 0) {
            other.note(FileId::SYSTEM, std::iter::once(standing(mark)));
        }
        let (_, offered) = one.changed().remove(0);
        assert_eq!(offered, [standing(4_998), standing(4_095)]);
        assert_eq!(other.at(FileId::SYSTEM, 4_998), None);
        assert_eq!(other.at(FileId::SYSTEM, 4_095), Some(standing(4_095)));
        assert_eq!(other.at(FileId::SYSTEM, 19_998), Some(standing(19_998)));
    }
}
