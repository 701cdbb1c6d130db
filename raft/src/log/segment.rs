//! Segments and frames: how records lie in a file.
//!
//! A segment starts with one block of 4096 bytes whose first 36 are
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | version of the format |
//! | 12 | 4 | group id |
//! | 16 | 8 | number of the segment, as in its name |
//! | 24 | 8 | salt |
//! | 32 | 4 | CRC32C of the above |
//!
//! and goes on with frames. A frame is what one write put down: a head of 32 bytes, records, and
//! zeros up to a multiple of 8.
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 4 | CRC32C over salt and the head's other bytes |
//! | 8 | 4 | bytes of records |
//! | 12 | 4 | number of records |
//! | 16 | 8 | number of the frame; counts on from segment to segment |
//! | 24 | 8 | the highest frame known to be durable when this one was written |
//!
//! The header block is written and synced before the file gets its name, hence holds nothing that
//! is known only later: the first index is in the [`Marks`](super::record::Marks) record that opens
//! the first frame.

use std::sync::Arc;

use super::{
    disk::DiskFile,
    record::{Raw, Seal, u32_at, u64_at},
};
use crate::contract::{Fault, GroupId};

/// Bytes before the first frame: a whole block, so that no later write touches its sector.
pub(super) const HEADER: usize = 4096;
/// Bytes before the records of a frame.
pub(super) const FRAME_HEAD: usize = 32;
/// Frames start at multiples of this.
const ALIGN: usize = 8;
const SEGMENT_MAGIC: &[u8; 8] = b"TFRAFTLG";
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"FRM1");
const VERSION: u32 = 1;

/// An open segment.
pub(super) struct Segment {
    /// Its number.
    pub(super) number: u64,
    /// What its checksums are mixed with.
    pub(super) seal: Seal,
    /// Its file.
    pub(super) file: Arc<dyn DiskFile>,
}

/// Name of a segment's file.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:016x}.log")
}

/// Number of the segment with this name, if it is one.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".log").filter(|stem| stem.len() == 16)?;
    u64::from_str_radix(stem, 16).ok()
}

/// The header block of a segment.
pub(super) fn header(number: u64, seal: &Seal) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER);
    block.extend_from_slice(SEGMENT_MAGIC);
    block.extend_from_slice(&VERSION.to_le_bytes());
    block.extend_from_slice(&seal.group.0.to_le_bytes());
    block.extend_from_slice(&number.to_le_bytes());
    block.extend_from_slice(&seal.salt.to_le_bytes());
    let sum = crc32c::crc32c(&block);
    block.extend_from_slice(&sum.to_le_bytes());
    block.resize(HEADER, 0);
    block
}

/// A frame being filled. The buffer is kept from frame to frame.
#[derive(Default)]
pub(super) struct FrameBuilder {
    buffer: Vec<u8>,
    records: u32,
}

impl FrameBuilder {
    /// Bytes that the frame would take with `more` bytes of records added.
    pub(super) fn size_with(&self, more: usize) -> usize {
        self.buffer.len().max(FRAME_HEAD).saturating_add(more).next_multiple_of(ALIGN)
    }

    /// Whether it holds no record.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record; answers where it lies, counted from the start of the frame.
    pub(super) fn push(&mut self, record: &Raw<'_>, seal: &Seal) -> Result<usize, Fault> {
        if self.buffer.is_empty() {
            self.buffer.resize(FRAME_HEAD, 0);
        }
        let at = self.buffer.len();
        record.encode(seal, &mut self.buffer)?;
        self.records += 1;
        Ok(at)
    }

    /// Completes the head and hands out the bytes to write.
    pub(super) fn finish(&mut self, number: u64, durable: u64, seal: &Seal) -> Result<&[u8], Fault> {
        self.buffer.resize(self.buffer.len().max(FRAME_HEAD), 0);
        let bytes = u32::try_from(self.buffer.len() - FRAME_HEAD)
            .map_err(|cause| Fault::new("put more than 4 GiB in one log frame", cause))?;
        let mut tail = Vec::with_capacity(FRAME_HEAD - 8);
        tail.extend_from_slice(&bytes.to_le_bytes());
        tail.extend_from_slice(&self.records.to_le_bytes());
        tail.extend_from_slice(&number.to_le_bytes());
        tail.extend_from_slice(&durable.to_le_bytes());
        let sum = seal.sum(&[&FRAME_MAGIC.to_le_bytes(), &tail]);
        let head = FRAME_MAGIC.to_le_bytes().into_iter().chain(sum.to_le_bytes()).chain(tail);
        for (to, from) in self.buffer.iter_mut().zip(head) {
            *to = from;
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGN), 0);
        Ok(&self.buffer)
    }

    /// Forgets the content; gives back the memory of a rare large frame.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(4 << 20);
        self.records = 0;
    }
}

/// Head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Its number.
    pub(super) number: u64,
    /// The highest frame known to be durable when it was written.
    pub(super) durable: u64,
    bytes: usize,
    records: u32,
}

/// A frame as it lies in a segment.
pub(super) struct Frame<'a> {
    /// Its head.
    pub(super) head: FrameHead,
    /// Each record with its place in the segment.
    pub(super) records: Vec<(usize, Raw<'a>)>,
}

/// A segment taken apart.
pub(super) struct Parsed<'a> {
    /// Number of the segment.
    pub(super) number: u64,
    /// What its checksums are mixed with.
    pub(super) seal: Seal,
    /// The frames from the start up to the first place where no good frame lies.
    pub(super) frames: Vec<Frame<'a>>,
    /// That place.
    pub(super) end: usize,
    /// Why there is no good frame there.
    pub(super) stop: &'static str,
}

/// Takes a segment apart. Total: any bytes are taken, none make it panic. An error means that the
/// header is not one.
pub(super) fn parse_segment(image: &[u8]) -> Result<Parsed<'_>, &'static str> {
    const SHORT: &str = "the header is cut short";
    if image.get(..8).ok_or(SHORT)? != SEGMENT_MAGIC {
        return Err("the header has no magic");
    }
    if u32_at(image, 32) != Some(crc32c::crc32c(image.get(..32).ok_or(SHORT)?)) {
        return Err("the checksum of the header does not match");
    }
    if u32_at(image, 8) != Some(VERSION) {
        return Err("the format is of another version than this program knows");
    }
    let seal =
        Seal { group: GroupId(u32_at(image, 12).ok_or(SHORT)?), salt: u64_at(image, 24).ok_or(SHORT)? };
    let mut parsed =
        Parsed { number: u64_at(image, 16).ok_or(SHORT)?, seal, frames: Vec::new(), end: HEADER, stop: "" };
    loop {
        match frame_at(image, parsed.end, &seal) {
            Ok((frame, end)) => {
                let before = parsed.frames.last().map(|before| before.head.number);
                if before.is_some_and(|before| before.checked_add(1) != Some(frame.head.number)) {
                    parsed.stop = "a frame is out of turn";
                    return Ok(parsed);
                }
                parsed.frames.push(frame);
                parsed.end = end;
            }
            Err(stop) => {
                parsed.stop = stop;
                return Ok(parsed);
            }
        }
    }
}

/// The first frame head at or after `from` that says that frame `missing` was durable. A damaged
/// body does not weaken its witness: the head has its own checksum.
pub(super) fn witness(image: &[u8], from: usize, missing: u64, seal: &Seal) -> Option<(usize, FrameHead)> {
    (from.next_multiple_of(ALIGN)..image.len()).step_by(ALIGN).find_map(|at| {
        let head = head_at(image, at, seal).ok()?;
        (head.durable >= missing).then_some((at, head))
    })
}

fn head_at(image: &[u8], at: usize, seal: &Seal) -> Result<FrameHead, &'static str> {
    const NONE: &str = "no frame begins there";
    let head = image.get(at..).and_then(|rest| rest.get(..FRAME_HEAD)).ok_or(NONE)?;
    if u32_at(head, 0) != Some(FRAME_MAGIC) {
        return Err(NONE);
    }
    let sum = seal.sum(&[head.get(..4).ok_or(NONE)?, head.get(8..).ok_or(NONE)?]);
    if u32_at(head, 4) != Some(sum) {
        return Err("the checksum of a frame head does not match");
    }
    Ok(FrameHead {
        bytes: u32_at(head, 8).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(NONE)?,
        records: u32_at(head, 12).ok_or(NONE)?,
        number: u64_at(head, 16).ok_or(NONE)?,
        durable: u64_at(head, 24).ok_or(NONE)?,
    })
}

fn frame_at<'a>(image: &'a [u8], at: usize, seal: &Seal) -> Result<(Frame<'a>, usize), &'static str> {
    let head = head_at(image, at, seal)?;
    let start = at.saturating_add(FRAME_HEAD);
    let end = start.saturating_add(head.bytes);
    let bytes = image.get(start..end).ok_or("a frame runs past the end of the file")?;
    let mut records = Vec::new();
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let record = Raw::decode(rest, seal)?;
        records.push((start.saturating_add(done), record));
        done = done.saturating_add(record.size());
    }
    if u32::try_from(records.len()) != Ok(head.records) {
        return Err("a frame does not hold as many records as it says");
    }
    Ok((Frame { head, records }, end.next_multiple_of(ALIGN)))
}
