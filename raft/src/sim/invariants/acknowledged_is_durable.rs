//! A write that a client was told of survives any power cut: a majority holds it on its disks.

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct AcknowledgedIsDurable;

impl Invariant for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "acknowledged_is_durable"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Acknowledged { value, index, holders, voters, .. } = event else { return Ok(()) };
        if *holders * 2 > *voters {
            return Ok(());
        }
        Err(format!("write {value:x} at entry {index} is durable on {holders} of {voters} voters only"))
    }
}
