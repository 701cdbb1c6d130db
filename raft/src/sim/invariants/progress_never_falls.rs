//! What a node has committed and applied never falls while it is up.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct ProgressNeverFalls {
    newest: BTreeMap<NodeId, (u64, u64)>,
}

impl Invariant for ProgressNeverFalls {
    fn name(&self) -> &'static str {
        "progress_never_falls"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Started { node, .. } => {
                self.newest.remove(node);
            }
            Event::Progress { node, committed, applied, .. } => {
                let now = (*committed, *applied);
                let before = self.newest.insert(*node, now).unwrap_or_default();
                if now.0 < before.0 || now.1 < before.1 {
                    return Err(format!(
                        "node {node} went from {before:?} (committed, applied) back to {now:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
