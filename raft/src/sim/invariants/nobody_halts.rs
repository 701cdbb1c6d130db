//! No node stops by itself as long as its disk is well.

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct NobodyHalts;

impl Invariant for NobodyHalts {
    fn name(&self) -> &'static str {
        "nobody_halts"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Halted { node, why } => Err(format!("node {node} halted: {why}")),
            _ => Ok(()),
        }
    }
}
