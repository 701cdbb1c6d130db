//! Reading the log back after a stop or a crash.
//!
//! Frames are numbered without gaps. The log ends where the next number is not found whole. Whether
//! that is the torn end of a crash or damage is decided by one rule:
//!
//! > When frame *n* is missing and any frame head anywhere behind it says that *n* was durable, the
//! > log is damaged and is refused. When none does, *n* was never acknowledged, nor was anything
//! > after it: the log is cut there.
//!
//! Whole frames may lie behind a torn one, since the disk may write what is not synced in any order;
//! they say nothing of *n*, because each frame tells what was durable when *it* was written. The
//! first frame of a segment is written after the segment before was synced, so it speaks for all of
//! it. For the very last synced frames, which none came after, a file beside the segments speaks
//! (`durable.rs`): a log that holds fewer is refused as well, before anything is cut.
//!
//! What is cut is gone: the file is shortened, and the log goes on in a new file with a new salt, so
//! stale bytes can never be read as records. What is kept is synced before anyone is told of it: it
//! may have been in the page cache only.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    disk::Disk,
    engine::Held,
    index::{Index, Place},
    record::{Kind, Marks, Point, RECORD_HEAD, Raw},
    segment::{FRAME_HEAD, Frame, HEADER, Parsed, Segment, name_of, number_of, parse_segment, witness},
    writer::note,
};
use crate::contract::{Fault, GroupId};

/// What to do about damage; the end of every such message.
const ADVICE: &str = "this node may have lost acknowledged entries and must not vote again: \
                      remove it from the cluster and let it join under a new id, or put back this disk as it was";

/// A log read back.
pub(super) struct Recovered {
    /// Its entries, all on disk.
    pub(super) index: Index,
    /// The rest of what it says.
    pub(super) marks: Marks,
    /// The committed position, if it is of use.
    pub(super) committed: Option<Point>,
    /// Its segments.
    pub(super) segments: BTreeMap<u64, Held>,
    /// Number of the last frame; 0 when there is none.
    pub(super) last_frame: u64,
    /// Number of the segment in which it goes on.
    pub(super) next_segment: u64,
    /// That segment, if it was made before the stop and never written to.
    pub(super) spare: Option<Arc<Segment>>,
}

/// Reads the log in a folder, decides where it ends, and makes that end final. Frames up to `durable` were durable.
pub(super) fn recover(
    disk: &dyn Disk,
    group: GroupId,
    segment_bytes: u64,
    held_bytes_max: usize,
    durable: u64,
) -> Result<Recovered, Fault> {
    let numbers = numbers(disk)?;
    let mut scan = Scan {
        disk,
        group,
        segment_bytes,
        held_bytes_max,
        oldest: numbers.first().copied().unwrap_or(1),
        log: None,
        segments: BTreeMap::new(),
        last_frame: 0,
        end: None,
        flaw: None,
        unused: Vec::new(),
        spare: None,
    };
    for number in numbers {
        scan.segment(number)?;
    }
    scan.refuse_if_shorter(durable)?;
    scan.finish()
}

/// Numbers of the segments, in order and without gaps. Removes segments that were not yet complete.
fn numbers(disk: &dyn Disk) -> Result<Vec<u64>, Fault> {
    let attempt = |cause| Fault::new("list the log's folder", cause);
    let mut numbers = Vec::new();
    for name in disk.names().map_err(attempt)? {
        if name.ends_with(".log.new") {
            disk.remove(&name).map_err(attempt)?;
        } else if let Some(number) = number_of(&name) {
            numbers.push(number);
        }
    }
    disk.sync_names().map_err(attempt)?;
    numbers.sort_unstable();
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        if before.checked_add(1) != Some(*after) {
            return Err(Fault::found(format!(
                "log segments are missing between {} and {}; {ADVICE}",
                name_of(*before),
                name_of(*after)
            )));
        }
    }
    Ok(numbers)
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    group: GroupId,
    segment_bytes: u64,
    held_bytes_max: usize,
    oldest: u64,
    log: Option<(Index, Marks)>,
    segments: BTreeMap<u64, Held>,
    last_frame: u64,
    /// Where the last segment in use ends.
    end: Option<(Arc<Segment>, u64)>,
    /// The first place where something lies that is no good frame, and what is wrong with it.
    flaw: Option<(u64, usize, &'static str)>,
    /// Segments behind the end.
    unused: Vec<u64>,
    spare: Option<Arc<Segment>>,
}

impl Scan<'_> {
    fn segment(&mut self, number: u64) -> Result<(), Fault> {
        let name = name_of(number);
        let attempt = |cause| Fault::new(format!("read log segment {name}"), cause);
        let file = self.disk.open(&name).map_err(attempt)?;
        let size = file.size().map_err(attempt)?;
        let mut image =
            vec![0; usize::try_from(size).map_err(|cause| Fault::new("read a log segment", cause))?];
        file.read_at(0, &mut image).map_err(attempt)?;
        let parsed =
            parse_segment(&image).map_err(|why| damaged(number, 0, why, "its header was durable"))?;
        if parsed.seal.group != self.group || parsed.number != number {
            let (group, ours) = (parsed.seal.group.0, self.group.0);
            return Err(Fault::found(format!(
                "log segment {name} says it is number {} of group {group}, not of group {ours}; \
                 files of another log were put here",
                parsed.number
            )));
        }
        let segment = Arc::new(Segment { number, seal: parsed.seal, file });
        if self.goes_on(&parsed) {
            self.replay(segment, &parsed, size)?;
            self.refuse_if_durable(&parsed, &image, parsed.end)
        } else {
            if number == self.oldest && number != 1 {
                return Err(damaged(
                    number,
                    HEADER,
                    parsed.stop,
                    "older segments were removed because of it",
                ));
            }
            self.refuse_if_durable(&parsed, &image, HEADER)?;
            let zero = image.iter().skip(HEADER).all(|byte| *byte == 0);
            if zero && size == self.segment_bytes && self.unused.is_empty() && self.spare.is_none() {
                self.spare = Some(segment);
            } else {
                self.unused.push(number);
            }
            Ok(())
        }
    }

    /// Whether the segment holds the frame after the last.
    fn goes_on(&self, parsed: &Parsed<'_>) -> bool {
        let Some(first) = parsed.frames.first() else { return false };
        let ended = self.spare.is_some() || !self.unused.is_empty();
        let any = self.log.is_none() && self.oldest != 1;
        !ended && (any || first.head.number == self.last_frame.saturating_add(1))
    }

    /// The rule: no frame head from `from` on may say that the frame after the last was durable.
    fn refuse_if_durable(&mut self, parsed: &Parsed<'_>, image: &[u8], from: usize) -> Result<(), Fault> {
        let blank = image.iter().skip(from).take(FRAME_HEAD).all(|byte| *byte == 0);
        if !blank && self.flaw.is_none() {
            self.flaw = Some((parsed.number, from, parsed.stop));
        }
        let missing = self.last_frame.saturating_add(1);
        let Some((at, head)) = witness(image, from, missing, &parsed.seal) else { return Ok(()) };
        let (number, offset, why) = self.flaw.unwrap_or_else(|| match &self.end {
            Some((segment, end)) => {
                (segment.number, usize::try_from(*end).unwrap_or(usize::MAX), "it is empty")
            }
            None => (self.oldest, HEADER, "it is empty"),
        });
        let proof = format!(
            "frame {} at byte {at} of {} says that frame {missing} was durable",
            head.number,
            name_of(parsed.number)
        );
        Err(damaged(number, offset, why, &proof))
    }

    /// The other rule: the log must hold all frames up to `durable`.
    fn refuse_if_shorter(&self, durable: u64) -> Result<(), Fault> {
        if self.last_frame >= durable {
            return Ok(());
        }
        let place = match &self.end {
            Some((segment, end)) => format!("at byte {end} of segment {}", name_of(segment.number)),
            None => "before its first frame".to_owned(),
        };
        let last = self.log.as_ref().map_or(0, |(_, marks)| marks.next.saturating_sub(1));
        Err(Fault::found(format!(
            "the log ends {place} with frame {} and entry {last}, yet frame {durable} was durable: the end of the log is \
             missing; {ADVICE}",
            self.last_frame
        )))
    }

    fn replay(&mut self, segment: Arc<Segment>, parsed: &Parsed<'_>, size: u64) -> Result<(), Fault> {
        let mut last = None;
        for frame in &parsed.frames {
            last = last.max(self.frame(segment.number, frame)?);
            self.last_frame = frame.head.number;
        }
        self.end = Some((segment.clone(), parsed.end as u64));
        self.segments.insert(segment.number, Held { segment, bytes: size, last });
        Ok(())
    }

    /// Applies a frame; answers the highest index of its entries.
    fn frame(&mut self, number: u64, frame: &Frame<'_>) -> Result<Option<u64>, Fault> {
        let mut last = None;
        for (at, record) in &frame.records {
            let wrong = |why: &str| damaged(number, *at, why, "the checksums around it match");
            if record.kind == Kind::Marks {
                let told: Marks =
                    postcard::from_bytes(record.body).map_err(|_| wrong("the marks cannot be decoded"))?;
                match &self.log {
                    None => {
                        let index = Index::new(told.next, told.purged, self.held_bytes_max);
                        self.log = Some((index, told));
                    }
                    Some((_, marks)) if *marks == told => {}
                    Some(_) => return Err(wrong("the marks contradict the segments before")),
                }
                continue;
            }
            let (index, marks) = self.log.as_mut().ok_or_else(|| wrong("no marks open the segment"))?;
            apply(index, record, Place { segment: number, offset: *at as u64 }).map_err(wrong)?;
            note(marks, record);
            if record.kind == Kind::Item {
                last = last.max(record.point.map(|point| point.index));
            }
        }
        Ok(last)
    }

    /// Makes the end final: cuts what lies behind it, syncs what is kept, removes what is not used.
    fn finish(mut self) -> Result<Recovered, Fault> {
        let attempt = |cause| Fault::new("cut the log at its end", cause);
        let mut next_segment = self.oldest;
        if let Some((segment, end)) = &self.end {
            segment.file.cut(*end).map_err(attempt)?;
            segment.file.sync_all().map_err(attempt)?;
            next_segment = segment.number.saturating_add(1);
            if let Some(held) = self.segments.get_mut(&segment.number) {
                held.bytes = *end;
            }
        }
        for number in self.unused.iter().rev() {
            self.disk.remove(&name_of(*number)).map_err(attempt)?;
            self.disk.sync_names().map_err(attempt)?;
        }
        let (index, marks) =
            self.log.unwrap_or_else(|| (Index::new(0, None, self.held_bytes_max), Marks::default()));
        let missing = marks.first < marks.next && index.first() != Some(marks.first);
        if missing || index.next() != marks.next || index.purged() != marks.purged {
            return Err(Fault::found(format!(
                "the log should hold entries {}..{} but begins at {:?}: its oldest segments are missing; {ADVICE}",
                marks.first,
                marks.next,
                index.first()
            )));
        }
        // A position that is not an entry of this log is of no use for a restart: a snapshot that was
        // about to be installed told it, and never came.
        let committed =
            marks.committed.filter(|told| index.point_at(told.index) == Some(*told)).or(marks.purged);
        let (segments, last_frame, spare) = (self.segments, self.last_frame, self.spare);
        Ok(Recovered { index, marks, committed, segments, last_frame, next_segment, spare })
    }
}

fn apply(index: &mut Index, record: &Raw<'_>, place: Place) -> Result<(), &'static str> {
    match (record.kind, record.point) {
        (Kind::Item, Some(point)) if index.takes(point.index) => {
            index.push_stored(point, record.size() - RECORD_HEAD, place);
        }
        (Kind::Item, Some(_)) => return Err("an entry is out of order"),
        (Kind::Truncate, keep) => index.truncate(keep.map(|point| point.index)),
        (Kind::Purge, Some(point)) => index.purge(point),
        (Kind::Item | Kind::Purge, None) => return Err("a record names no position"),
        (Kind::Vote | Kind::Committed | Kind::Marks, _) => {}
    }
    Ok(())
}

fn damaged(number: u64, offset: usize, why: &str, proof: &str) -> Fault {
    Fault::found(format!(
        "log segment {} is damaged at byte {offset}: {why}, yet {proof}; {ADVICE}",
        name_of(number)
    ))
}
