//! Reading entries back from disk.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    record::{Item, Kind, Point, Raw},
    segment::Segment,
};
use crate::contract::Fault;

/// Neighbours are fetched by one read as long as it stays below this.
const READ_BYTES_MAX: usize = 1 << 20;
/// Neighbours may be this far apart: the padding and head of a frame, and a short record or two.
const GAP_MAX: u64 = 256;

/// An entry to be read.
pub(super) enum Part {
    /// It is in memory.
    Held(Item),
    /// It is on disk.
    Stored {
        /// What the record must name.
        point: Point,
        /// The file; open, so that it can be read even after its removal.
        segment: Arc<Segment>,
        /// Where the record begins.
        offset: u64,
        /// Bytes of the record.
        bytes: usize,
    },
}

/// A run of bytes to read.
struct Run {
    segment: Arc<Segment>,
    offset: u64,
    bytes: usize,
    records: Vec<(Point, usize, usize)>,
}

/// Entries found, in order, not all of them in memory.
pub(super) struct Plan(pub(super) Vec<Part>);

impl Plan {
    /// Whether [`Plan::fetch`] will read no disk.
    pub(super) fn is_held(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Held(_)))
    }

    /// The entries. Reads the disk; every record read is checked.
    pub(super) fn fetch(self) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::with_capacity(self.0.len());
        let mut run: Option<Run> = None;
        for part in self.0 {
            match part {
                Part::Held(item) => {
                    flush(run.take(), &mut items)?;
                    items.push(item);
                }
                Part::Stored { point, segment, offset, bytes } => {
                    if !run.as_mut().is_some_and(|run| run.extend(point, &segment, offset, bytes)) {
                        flush(run.take(), &mut items)?;
                        run = Some(Run { segment, offset, bytes, records: vec![(point, 0, bytes)] });
                    }
                }
            }
        }
        flush(run, &mut items)?;
        Ok(items)
    }
}

impl Run {
    /// Takes a record in if it is a near neighbour.
    fn extend(&mut self, point: Point, segment: &Arc<Segment>, offset: u64, bytes: usize) -> bool {
        let end = self.offset.saturating_add(self.bytes as u64);
        let near = segment.number == self.segment.number && offset >= end && offset - end <= GAP_MAX;
        let Ok(at) = usize::try_from(offset.saturating_sub(self.offset)) else { return false };
        let total = at.saturating_add(bytes);
        if !near || total > READ_BYTES_MAX {
            return false;
        }
        self.bytes = total;
        self.records.push((point, at, bytes));
        true
    }
}

fn flush(run: Option<Run>, items: &mut Vec<Item>) -> Result<(), Fault> {
    let Some(run) = run else { return Ok(()) };
    let number = run.segment.number;
    let mut buffer = vec![0; run.bytes];
    run.segment.file.read_at(run.offset, &mut buffer).map_err(|cause| {
        Fault::new(format!("read log segment {number:016x} at byte {}", run.offset), cause)
    })?;
    let buffer = Bytes::from(buffer);
    for (point, at, bytes) in run.records {
        let damaged = |why: &str| {
            let offset = run.offset.saturating_add(at as u64);
            Fault::found(format!(
                "log segment {number:016x} is damaged at byte {offset}, entry {}: {why}; \
                 replace this node or restore its disk",
                point.index
            ))
        };
        let end = at.saturating_add(bytes);
        let slice = buffer.get(at..end).ok_or_else(|| damaged("the read is short"))?;
        let raw = Raw::decode(slice, &run.segment.seal).map_err(damaged)?;
        if raw.kind != Kind::Item || raw.point != Some(point) || raw.size() != bytes {
            return Err(damaged("another record lies there"));
        }
        let (form, stamp) = (raw.form, raw.stamp);
        let body = buffer.slice(end - raw.body.len()..end);
        items.push(Item { point, form, stamp, body });
    }
    Ok(())
}
