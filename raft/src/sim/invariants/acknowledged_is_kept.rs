//! A write that a client was told of is in its file on every member in the end, once, where the client was told.

use std::collections::BTreeMap;

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct AcknowledgedIsKept {
    files: BTreeMap<u64, u8>,
    acknowledged: BTreeMap<u8, BTreeMap<u64, usize>>,
}

impl Invariant for AcknowledgedIsKept {
    fn name(&self) -> &'static str {
        "acknowledged_is_kept"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Asked { value, file } => {
                self.files.insert(*value, *file);
            }
            Event::Acknowledged { value, place, .. } => {
                let file = self.files.get(value).copied().unwrap_or_default();
                self.acknowledged.entry(file).or_default().insert(*value, *place);
            }
            Event::Ended { node, file, values } => {
                for (value, place) in self.acknowledged.get(file).into_iter().flatten() {
                    let found = values.iter().enumerate().filter(|(_, found)| *found == value);
                    let found: Vec<usize> = found.map(|(place, _)| place).collect();
                    if found != [*place] {
                        return Err(format!(
                            "write {value:x} was acknowledged at place {place} of file {file}; node {node} holds it at {found:?}"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
