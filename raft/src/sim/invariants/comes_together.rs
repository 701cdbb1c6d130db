//! Once everything is repaired the group serves again, and all members hold the same.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct ComesTogether {
    ends: BTreeMap<u8, (NodeId, Vec<u64>)>,
}

impl Invariant for ComesTogether {
    fn name(&self) -> &'static str {
        "comes_together"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Apart { why } => return Err(why.clone()),
            Event::Ended { node, file, values } => {
                let (first, known) = self.ends.entry(*file).or_insert_with(|| (*node, values.clone()));
                if known != values {
                    return Err(format!(
                        "file {file} ends as {values:x?} on node {node} and as {known:x?} on node {first}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
