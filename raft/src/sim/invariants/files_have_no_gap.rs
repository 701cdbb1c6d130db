//! Every file of every node is a beginning of one and the same list: no power cut, purge or snapshot leaves anything
//! out.

use std::collections::BTreeMap;

use super::{Event, Invariant};

#[derive(Default)]
pub(super) struct FilesHaveNoGap {
    files: BTreeMap<u8, Vec<(u64, u64)>>,
}

impl Invariant for FilesHaveNoGap {
    fn name(&self) -> &'static str {
        "files_have_no_gap"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Applied { node, file, place, index, value } = event else { return Ok(()) };
        let list = self.files.entry(*file).or_default();
        match list.get(*place) {
            Some(known) if *known == (*index, *value) => Ok(()),
            None if *place == list.len() => {
                list.push((*index, *value));
                Ok(())
            }
            known => Err(format!(
                "node {node} put entry {index} (write {value:x}) at place {place} of file {file}, where others hold {known:x?} of {}",
                list.len()
            )),
        }
    }
}
