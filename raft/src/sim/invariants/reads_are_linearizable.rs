//! A read shows every write acknowledged, and everything another read showed, before it began; and all reads show
//! beginnings of one list.

use std::collections::BTreeMap;

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct ReadsAreLinearizable {
    /// The file of each write asked for.
    asked: BTreeMap<u64, u8>,
    /// How long a read of a file that begins now must at least be.
    least: BTreeMap<u8, usize>,
    began: BTreeMap<u64, usize>,
    longest: BTreeMap<u8, Vec<u64>>,
}

impl Invariant for ReadsAreLinearizable {
    fn name(&self) -> &'static str {
        "reads_are_linearizable"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Asked { value, file } => {
                self.asked.insert(*value, *file);
            }
            Event::Acknowledged { value, place, .. } => {
                if let Some(file) = self.asked.get(value) {
                    let least = self.least.entry(*file).or_default();
                    *least = (*least).max(place.saturating_add(1));
                }
            }
            Event::ReadBegan { read, file } => {
                let least = self.least.get(file).copied().unwrap_or(0);
                self.began.insert(*read, least);
            }
            Event::Read { read, file, values } => return self.read(*read, *file, values),
            _ => {}
        }
        Ok(())
    }
}

impl ReadsAreLinearizable {
    fn read(&mut self, read: u64, file: u8, values: &[u64]) -> Result<(), String> {
        let least = self.began.remove(&read).unwrap_or(0);
        if values.len() < least {
            return Err(format!(
                "a read of file {file} shows {} writes; {least} were acknowledged or shown before it began",
                values.len()
            ));
        }
        let known = self.least.entry(file).or_default();
        *known = (*known).max(values.len());
        let longest = self.longest.entry(file).or_default();
        let common = longest.len().min(values.len());
        if longest[..common] != values[..common] {
            return Err(format!(
                "two reads of file {file} show different lists: {longest:x?} and {values:x?}"
            ));
        }
        if values.len() > longest.len() {
            *longest = values.to_vec();
        }
        Ok(())
    }
}
