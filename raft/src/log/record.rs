//! Records: what the log says, and its bytes.
//!
//! All numbers are little-endian. A record is 48 bytes of head and a body:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | bytes of the body |
//! | 4 | 4 | CRC32C over salt, the other bytes of the head, and the body |
//! | 8 | 4 | group id |
//! | 12 | 1 | kind |
//! | 13 | 1 | form: means something only to the owner of the entry |
//! | 14 | 1 | 1 when the record names a position, 0 when it names none |
//! | 15 | 1 | 0 |
//! | 16 | 24 | index, term, leader |
//! | 40 | 8 | stamp: means something only to the owner of the entry |
//!
//! The salt is drawn anew for every segment, so bytes left over from another file, or planted in a
//! body by a client, are never valid here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::contract::{Fault, GroupId};

/// Bytes before the body of a record.
pub(super) const RECORD_HEAD: usize = 48;

/// A position in the log, with the leader that put an entry there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Point {
    /// Place in the log.
    pub(super) index: u64,
    /// Term of the leader.
    pub(super) term: u64,
    /// Node id of the leader.
    pub(super) leader: u64,
}

/// An entry as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Where it is.
    pub(super) point: Point,
    /// Opaque to the log: which shape the body has.
    pub(super) form: u8,
    /// Opaque to the log: a number beside the body, so that the body need not be copied to add it.
    pub(super) stamp: u64,
    /// Opaque to the log.
    pub(super) body: Bytes,
}

/// What holds at a moment beside the entries; the first record of every segment, so that the vote
/// and the low mark outlive the segments in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Lowest index that the log holds; equal to `next` when it holds none.
    pub(super) first: u64,
    /// Index after the last entry.
    pub(super) next: u64,
    /// The highest entry that was purged.
    pub(super) purged: Option<Point>,
    /// The committed position as last told.
    pub(super) committed: Option<Point>,
    /// The vote as last saved.
    pub(super) vote: Option<Vec<u8>>,
}

impl Marks {
    /// The log after an entry was appended.
    pub(super) fn item(&mut self, index: u64) {
        if self.first == self.next {
            self.first = index;
        }
        self.next = index.saturating_add(1);
    }

    /// The log after everything above `keep` was dropped.
    pub(super) fn truncate(&mut self, keep: Option<u64>) {
        let low = self.purged.map_or(0, |purged| purged.index.saturating_add(1));
        let next = keep.map_or(0, |keep| keep.saturating_add(1)).max(low);
        self.next = self.next.min(next);
        self.first = self.first.min(self.next);
    }

    /// The log after everything up to `point` was dropped.
    pub(super) fn purge(&mut self, point: Point) {
        if self.purged.is_none_or(|purged| purged.index < point.index) {
            self.purged = Some(point);
            self.first = self.first.max(point.index.saturating_add(1));
            self.next = self.next.max(self.first);
        }
    }
}

/// What makes the checksums of one segment its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// The group whose log this is.
    pub(super) group: GroupId,
    /// Random number of the segment.
    pub(super) salt: u64,
}

impl Seal {
    /// CRC32C over the salt and the parts.
    pub(super) fn sum(&self, parts: &[&[u8]]) -> u32 {
        parts
            .iter()
            .fold(crc32c::crc32c(&self.salt.to_le_bytes()), |sum, part| crc32c::crc32c_append(sum, part))
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The marks at the start of a segment; the body is [`Marks`] in postcard.
    Marks = 1,
    /// An entry.
    Item = 2,
    /// A vote; the body is opaque to the log.
    Vote = 3,
    /// The committed position.
    Committed = 4,
    /// Entries above the index are dropped; all are when no position is named.
    Truncate = 5,
    /// Entries up to the index are dropped.
    Purge = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Marks, Self::Item, Self::Vote, Self::Committed, Self::Truncate, Self::Purge]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A record as it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    /// What it says.
    pub(super) kind: Kind,
    /// See [`Item::form`].
    pub(super) form: u8,
    /// The position it names.
    pub(super) point: Option<Point>,
    /// See [`Item::stamp`].
    pub(super) stamp: u64,
    /// What follows the head.
    pub(super) body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// A record with neither form nor stamp.
    pub(super) fn plain(kind: Kind, point: Option<Point>, body: &'a [u8]) -> Self {
        Self { kind, form: 0, point, stamp: 0, body }
    }

    /// The record of an entry.
    pub(super) fn item(item: &'a Item) -> Self {
        Self {
            kind: Kind::Item,
            form: item.form,
            point: Some(item.point),
            stamp: item.stamp,
            body: &item.body,
        }
    }

    /// Bytes it takes in the log.
    pub(super) fn size(&self) -> usize {
        RECORD_HEAD.saturating_add(self.body.len())
    }

    /// Appends its bytes to `out`.
    pub(super) fn encode(&self, seal: &Seal, out: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes = u32::try_from(self.body.len())
            .map_err(|cause| Fault::new(format!("put {} bytes in one log record", self.body.len()), cause))?;
        let point = self.point.unwrap_or(Point { index: 0, term: 0, leader: 0 });
        let mut tail = [0; RECORD_HEAD - 8];
        let fields: [&[u8]; 6] = [
            &seal.group.0.to_le_bytes(),
            &[self.kind as u8, self.form, u8::from(self.point.is_some()), 0],
            &point.index.to_le_bytes(),
            &point.term.to_le_bytes(),
            &point.leader.to_le_bytes(),
            &self.stamp.to_le_bytes(),
        ];
        for (to, from) in tail.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        let sum = seal.sum(&[&bytes.to_le_bytes(), &tail, self.body]);
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&tail);
        out.extend_from_slice(self.body);
        Ok(())
    }

    /// Reads the record at the start of `bytes`, or says what is wrong with it.
    pub(super) fn decode(bytes: &'a [u8], seal: &Seal) -> Result<Self, &'static str> {
        const SHORT: &str = "a record runs past the end";
        let body_bytes = usize::try_from(u32_at(bytes, 0).ok_or(SHORT)?).map_err(|_| SHORT)?;
        let head = bytes.get(8..RECORD_HEAD).ok_or(SHORT)?;
        let body = bytes.get(RECORD_HEAD..).and_then(|rest| rest.get(..body_bytes)).ok_or(SHORT)?;
        let sum = seal.sum(&[bytes.get(..4).ok_or(SHORT)?, head, body]);
        if u32_at(bytes, 4) != Some(sum) {
            return Err("the checksum of a record does not match");
        }
        if u32_at(head, 0) != Some(seal.group.0) {
            return Err("a record belongs to another group");
        }
        let [kind, form, named, _] = *head.get(4..).and_then(<[u8]>::first_chunk).ok_or(SHORT)?;
        let field = |at| u64_at(head, at).ok_or(SHORT);
        let point = Point { index: field(8)?, term: field(16)?, leader: field(24)? };
        Ok(Self {
            kind: Kind::from_byte(kind).ok_or("a record is of a kind this version does not know")?,
            form,
            point: (named == 1).then_some(point),
            stamp: field(32)?,
            body,
        })
    }
}

/// The number at a place, if it is inside.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The number at a place, if it is inside.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
