//! The write connections, divided so that several threads write without meeting: each file belongs to one share.

use std::sync::Mutex;

use super::writer::Writers;
use crate::kernel::FileId;

/// One [`Writers`] for each share.
pub(super) struct Shares {
    first: Mutex<Writers>,
    others: Vec<Mutex<Writers>>,
}

impl Shares {
    /// At least one, with `open_max` connections in all.
    pub(super) fn new(count: usize, open_max: usize) -> Self {
        let share = || Mutex::new(Writers::new(open_max.div_ceil(count.max(1))));
        Self { first: share(), others: (1..count).map(|_| share()).collect() }
    }

    pub(super) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Which share `file` belongs to while this process lives.
    pub(super) fn of(&self, file: FileId) -> usize {
        // The low half of an id is random.
        let (_, low) = file.0.as_u64_pair();
        let count = u64::try_from(self.count()).unwrap_or(1);
        usize::try_from(low % count).unwrap_or(0)
    }

    pub(super) fn get(&self, share: usize) -> &Mutex<Writers> {
        share.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mutex<Writers>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
