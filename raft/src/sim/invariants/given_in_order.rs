//! From one start to the next power cut a machine is given entries in rising order.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct GivenInOrder {
    newest: BTreeMap<NodeId, u64>,
}

impl Invariant for GivenInOrder {
    fn name(&self) -> &'static str {
        "given_in_order"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Started { node, .. } => {
                self.newest.remove(node);
            }
            Event::Given { node, index, .. } => {
                let newest = self.newest.insert(*node, *index);
                if newest.is_some_and(|newest| newest >= *index) {
                    return Err(format!("node {node} was given entry {index} after entry {newest:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
