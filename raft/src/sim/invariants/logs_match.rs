//! Two entries at one place by one leader are the same entry.

use std::collections::BTreeMap;

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct LogsMatch {
    entries: BTreeMap<(u64, u64, u64), u32>,
}

impl Invariant for LogsMatch {
    fn name(&self) -> &'static str {
        "logs_match"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Sent { id, sum } = event else { return Ok(()) };
        let place = (id.index, id.leader_id.term, id.leader_id.node_id);
        let known = *self.entries.entry(place).or_insert(*sum);
        if known == *sum {
            return Ok(());
        }
        Err(format!("entry {id} was sent with two contents"))
    }
}
