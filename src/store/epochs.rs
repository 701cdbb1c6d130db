//! Epochs: when what may be remembered about callers of a file changed last.
//!
//! An epoch is the index of the last entry that changed who may do what in a file, known as soon as it is applied, which
//! may be before readers see it. Whoever takes the epoch, waits for its entry, reads, and keeps the epoch with what it
//! read knows that this is still so as long as the epoch is the same. Nothing is stored: a process that starts
//! remembers nothing either.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::kernel::FileId;

/// When who may do what in a file changed last, as far as this process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// Files that came from elsewhere so far.
    replaced: u64,
    /// The last entry that changed it.
    entry: u64,
}

impl Epoch {
    /// The entry that readers must see before what they read belongs to this epoch; none when this process has applied
    /// none.
    pub fn entry(self) -> Option<u64> {
        (self.entry > 0).then_some(self.entry)
    }
}

#[derive(Default)]
pub(super) struct Epochs {
    replaced: AtomicU64,
    entries: RwLock<BTreeMap<FileId, u64>>,
}

impl Epochs {
    pub(super) fn of(&self, file: FileId) -> Epoch {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Epoch {
            replaced: self.replaced.load(Ordering::Acquire),
            entry: entries.get(&file).copied().unwrap_or(0),
        }
    }

    pub(super) fn touch(&self, file: FileId, entry: u64) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(file, entry);
    }

    /// Files were replaced by copies: what changed in them is not known.
    pub(super) fn touch_all(&self) {
        self.replaced.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_stays_until_its_file_is_touched_or_any_is_replaced() {
        let file = |number| crate::kernel::OrgId(uuid::Uuid::from_u128(number));
        let (epochs, one, other) = (Epochs::default(), file(1), file(2));
        let before = (epochs.of(one), epochs.of(other));
        epochs.touch(one, 7);
        assert_ne!(epochs.of(one), before.0);
        assert_eq!(epochs.of(other), before.1);
        epochs.touch_all();
        assert_ne!(epochs.of(other), before.1);
    }
}
