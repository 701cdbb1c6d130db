//! Where every entry is: in memory, on disk, or both.
//!
//! An entry enters with its body in memory. Once the writer has told its place on disk, the body may
//! be dropped: the newest bodies are kept up to a limit, so that replication and apply, which read
//! what was just appended, never touch the disk.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::record::{Item, Point, RECORD_HEAD};

/// Where the record of an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Offset of the record in it.
    pub(super) offset: u64,
}

/// An entry found by [`Index::find`].
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// It is in memory.
    Held(Item),
    /// It must be read.
    Stored {
        /// What the record must name.
        point: Point,
        /// Where the record lies.
        place: Place,
        /// Bytes of the record.
        bytes: usize,
    },
}

struct Slot {
    term: u64,
    leader: u64,
    stamp: u64,
    form: u8,
    /// Tells this entry from an earlier one at the same index that was truncated while the writer
    /// still had it in hand.
    ticket: u64,
    body_bytes: usize,
    body: Option<Bytes>,
    place: Option<Place>,
}

/// All entries between the low mark and the end, without holes.
pub(super) struct Index {
    first: u64,
    slots: VecDeque<Slot>,
    purged: Option<Point>,
    tickets: u64,
    held_bytes: usize,
    held_bytes_max: usize,
    /// No body below this index is held.
    held_from: u64,
}

impl Index {
    /// An empty log whose next entry has index `next`.
    pub(super) fn new(next: u64, purged: Option<Point>, held_bytes_max: usize) -> Self {
        Self {
            first: next,
            slots: VecDeque::new(),
            purged,
            tickets: 0,
            held_bytes: 0,
            held_bytes_max,
            held_from: next,
        }
    }

    /// Index after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(self.slots.len() as u64)
    }

    /// Lowest index held, if any entry is.
    pub(super) fn first(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    /// The highest purged entry.
    pub(super) fn purged(&self) -> Option<Point> {
        self.purged
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<Point> {
        let slot = self.slots.back()?;
        Some(Point { index: self.next().saturating_sub(1), term: slot.term, leader: slot.leader })
    }

    /// The entry at an index.
    pub(super) fn point_at(&self, index: u64) -> Option<Point> {
        let slot = self.slots.get(self.position(index)?)?;
        Some(Point { index, term: slot.term, leader: slot.leader })
    }

    /// Whether an entry may follow: no hole, except that a log without past may start anywhere.
    pub(super) fn takes(&self, index: u64) -> bool {
        index == self.next() || (self.slots.is_empty() && self.purged.is_none())
    }

    /// Adds an entry whose body is in memory only; answers the ticket for [`Index::settle`].
    pub(super) fn push(&mut self, item: &Item) -> u64 {
        self.tickets += 1;
        self.held_bytes = self.held_bytes.saturating_add(item.body.len());
        self.add(item.point, item.form, item.stamp, item.body.len(), Some(item.body.clone()), None);
        self.tickets
    }

    /// Adds an entry that is on disk only.
    pub(super) fn push_stored(&mut self, point: Point, body_bytes: usize, place: Place) {
        self.add(point, 0, 0, body_bytes, None, Some(place));
        self.held_from = self.next();
    }

    fn add(
        &mut self,
        point: Point,
        form: u8,
        stamp: u64,
        body_bytes: usize,
        body: Option<Bytes>,
        place: Option<Place>,
    ) {
        if self.slots.is_empty() {
            self.first = point.index;
            self.held_from = point.index;
        }
        self.slots.push_back(Slot {
            term: point.term,
            leader: point.leader,
            stamp,
            form,
            ticket: self.tickets,
            body_bytes,
            body,
            place,
        });
    }

    /// Tells where an entry was written. An entry that is gone by now is ignored.
    pub(super) fn settle(&mut self, index: u64, ticket: u64, place: Place) {
        let Some(slot) = self.position(index).and_then(|at| self.slots.get_mut(at)) else { return };
        if slot.ticket == ticket {
            slot.place = Some(place);
        }
    }

    /// Drops the oldest bodies that are on disk until the rest fits.
    pub(super) fn evict(&mut self) {
        while self.held_bytes > self.held_bytes_max && self.held_from < self.next() {
            let at = self.position(self.held_from);
            let Some(slot) = at.and_then(|at| self.slots.get_mut(at)).filter(|slot| slot.place.is_some())
            else {
                return;
            };
            let freed = slot.body.take().map_or(0, |body| body.len());
            self.held_bytes = self.held_bytes.saturating_sub(freed);
            self.held_from += 1;
        }
    }

    /// Drops all entries above `keep`; all when there is none.
    pub(super) fn truncate(&mut self, keep: Option<u64>) {
        let next = keep.map_or(0, |keep| keep.saturating_add(1));
        while self.next() > next {
            match self.slots.pop_back() {
                Some(slot) => self.forget(slot),
                None => break,
            }
        }
        let low = self.purged.map_or(0, |purged| purged.index.saturating_add(1));
        self.first = if self.slots.is_empty() { self.first.min(next).max(low) } else { self.first };
        self.held_from = self.held_from.min(self.next());
    }

    /// Drops all entries up to `point`.
    pub(super) fn purge(&mut self, point: Point) {
        if self.purged.is_some_and(|purged| purged.index >= point.index) {
            return;
        }
        self.purged = Some(point);
        let first = point.index.saturating_add(1);
        while self.first < first {
            match self.slots.pop_front() {
                Some(slot) => {
                    self.forget(slot);
                    self.first += 1;
                }
                None => self.first = first,
            }
        }
        self.held_from = self.held_from.max(self.first);
    }

    /// The entries of a range that the log holds, in order; stops when their bodies exceed
    /// `bytes_max`, but not before the first.
    pub(super) fn find(&self, range: Range<u64>, bytes_max: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for index in range.start.max(self.first)..range.end.min(self.next()) {
            let Some(slot) = self.position(index).and_then(|at| self.slots.get(at)) else { break };
            bytes = bytes.saturating_add(slot.body_bytes);
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            let point = Point { index, term: slot.term, leader: slot.leader };
            match (&slot.body, slot.place) {
                (Some(body), _) => {
                    found.push(Found::Held(Item {
                        point,
                        form: slot.form,
                        stamp: slot.stamp,
                        body: body.clone(),
                    }));
                }
                (None, Some(place)) => {
                    let bytes = slot.body_bytes.saturating_add(RECORD_HEAD);
                    found.push(Found::Stored { point, place, bytes });
                }
                // Cannot be: only a body with a place is dropped. A short answer is refused by the reader.
                (None, None) => break,
            }
        }
        found
    }

    fn forget(&mut self, slot: Slot) {
        self.held_bytes = self.held_bytes.saturating_sub(slot.body.map_or(0, |body| body.len()));
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first)?).ok()
    }
}
