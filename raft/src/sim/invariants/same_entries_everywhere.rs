//! At one index every machine is given the same entry with the same stamp.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct SameEntriesEverywhere {
    entries: BTreeMap<u64, (NodeId, (u64, u64))>,
}

impl Invariant for SameEntriesEverywhere {
    fn name(&self) -> &'static str {
        "same_entries_everywhere"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Given { node, index, at_ms, value, .. } = event else { return Ok(()) };
        let (first, known) = *self.entries.entry(*index).or_insert((*node, (*at_ms, *value)));
        if known == (*at_ms, *value) {
            return Ok(());
        }
        Err(format!(
            "entry {index} is write {value:x} of {at_ms} on node {node} and write {:x} of {} on node {first}",
            known.1, known.0
        ))
    }
}
