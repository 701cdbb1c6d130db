//! The stamp of an entry is at least that of every entry before it, whoever led.

use std::collections::BTreeMap;

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct StampsNeverFall {
    stamps: BTreeMap<u64, u64>,
}

impl Invariant for StampsNeverFall {
    fn name(&self) -> &'static str {
        "stamps_never_fall"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Given { index, at_ms, .. } = event else { return Ok(()) };
        self.stamps.insert(*index, *at_ms);
        let before = self.stamps.range(..index).next_back();
        let after = self.stamps.range(index + 1..).next();
        if before.is_none_or(|(_, before)| before <= at_ms) && after.is_none_or(|(_, after)| at_ms <= after) {
            return Ok(());
        }
        Err(format!("entry {index} has stamp {at_ms}, between {before:?} before it and {after:?} after it"))
    }
}
