//! The one thread that writes.
//!
//! It takes everything that is queued, writes it as one frame (more when a segment fills up), syncs
//! once, and tells all who waited: group commit. Order in the file is order of the requests, so a
//! vote and the entries after it can never change places.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    durable::Durable,
    engine::{Op, Request, Shared},
    index::Place,
    keeper::Keeper,
    record::{Kind, Marks, Point, Raw},
    segment::{FrameBuilder, HEADER, Segment},
};
use crate::contract::Fault;

/// An entry in the frame being filled.
struct Pending {
    index: u64,
    ticket: u64,
    at: usize,
}

/// State of the writer; lives in its thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    keeper: Keeper,
    /// Says `durable` where it outlives the segments.
    record: Durable,
    segment: Arc<Segment>,
    segment_bytes: u64,
    /// Where the next frame goes; [`HEADER`] as long as the segment holds none.
    offset: u64,
    /// What the log says up to the last record handed to the frame.
    marks: Marks,
    frame: FrameBuilder,
    pending: Vec<Pending>,
    /// Number of the last frame written.
    written: u64,
    /// Number of the last frame known to be durable.
    durable: u64,
    /// The highest durable frame that a later frame bears witness to.
    witnessed: u64,
}

impl Writer {
    /// A writer that goes on behind frame `written`, all of which is durable, in an empty segment.
    pub(super) fn new(
        shared: Arc<Shared>,
        keeper: Keeper,
        record: Durable,
        segment: Arc<Segment>,
        segment_bytes: u64,
        marks: Marks,
        written: u64,
    ) -> Self {
        Self {
            shared,
            keeper,
            record,
            segment,
            segment_bytes,
            offset: HEADER as u64,
            marks,
            frame: FrameBuilder::default(),
            pending: Vec::new(),
            written,
            durable: written,
            witnessed: written,
        }
    }

    /// Serves requests until the log is closed.
    pub(super) fn run(mut self) {
        while self.step() {}
    }

    /// Waits for requests and serves all that are queued as one batch. When the log is closed, ends
    /// it in order and answers `false`.
    pub(super) fn step(&mut self) -> bool {
        let Some(batch) = self.shared.take() else {
            if let Err(fault) = self.shared.check().and_then(|()| self.close()) {
                self.shared.fail(&fault);
            }
            return false;
        };
        if let Err(fault) = self.commit(&batch) {
            self.shared.fail(&fault);
        }
        for request in batch {
            if let Some(done) = request.done {
                done(self.shared.check());
            }
        }
        true
    }

    /// Writes a batch and, if anyone asked for it, makes it durable.
    fn commit(&mut self, batch: &[Request]) -> Result<(), Fault> {
        // After a failed write or sync nothing is known about the file: never try again.
        self.shared.check()?;
        let mut committed = None;
        for request in batch {
            match &request.op {
                Op::Append(items) => {
                    for (item, ticket) in items {
                        self.put(&Raw::item(item), Some(*ticket))?;
                    }
                }
                Op::Vote(vote) => self.put(&Raw::plain(Kind::Vote, None, vote), None)?,
                Op::Truncate(keep) => {
                    let point = keep.map(|index| Point { index, term: 0, leader: 0 });
                    self.put(&Raw::plain(Kind::Truncate, point, &[]), None)?;
                }
                Op::Purge(point) => self.put(&Raw::plain(Kind::Purge, Some(*point), &[]), None)?,
                Op::Barrier => {}
                // Only the last of a batch matters, and it may come late.
                Op::Committed(point) => committed = Some(*point),
            }
        }
        if let Some(point) = committed {
            self.put(&Raw::plain(Kind::Committed, point, &[]), None)?;
        }
        if !self.frame.is_empty() {
            self.write()?;
        }
        if batch.iter().any(|request| request.op.wants_sync()) {
            self.sync()?;
            self.remove_purged()?;
        }
        if self.offset > self.segment_bytes / 2 {
            self.keeper.ahead(self.segment.number.saturating_add(1));
        }
        Ok(())
    }

    /// Adds a record to the frame, rolling to the next segment when this one is full.
    fn put(&mut self, record: &Raw<'_>, ticket: Option<u64>) -> Result<(), Fault> {
        let end = self.offset.saturating_add(self.frame.size_with(record.size()) as u64);
        let empty = self.is_fresh() && self.pending.is_empty();
        // A record larger than a segment gets a segment to itself, which then is larger than most.
        if end > self.segment_bytes && !empty {
            self.roll()?;
        }
        if self.is_fresh() && self.frame.is_empty() {
            let marks = postcard::to_stdvec(&self.marks)
                .map_err(|cause| Fault::new("encode the marks of a log segment", cause))?;
            self.frame.push(&Raw::plain(Kind::Marks, None, &marks), &self.segment.seal)?;
        }
        let at = self.frame.push(record, &self.segment.seal)?;
        note(&mut self.marks, record);
        if let (Some(point), Some(ticket)) = (record.point, ticket) {
            self.pending.push(Pending { index: point.index, ticket, at });
        }
        Ok(())
    }

    fn is_fresh(&self) -> bool {
        self.offset == HEADER as u64
    }

    /// Writes the frame and tells readers where its entries are.
    fn write(&mut self) -> Result<(), Fault> {
        let number = self.written.saturating_add(1);
        let bytes = self.frame.finish(number, self.durable, &self.segment.seal)?;
        self.segment.file.write_at(self.offset, bytes).map_err(|cause| {
            Fault::new(
                format!("write to log segment {:016x} at byte {}", self.segment.number, self.offset),
                cause,
            )
        })?;
        let start = self.offset;
        self.offset = start.saturating_add(bytes.len() as u64);
        self.written = number;
        self.witnessed = self.durable;
        self.frame.clear();
        let places = self.pending.drain(..).map(|pending| {
            let place =
                Place { segment: self.segment.number, offset: start.saturating_add(pending.at as u64) };
            (pending.index, pending.ticket, place)
        });
        self.shared.settle(self.segment.number, self.offset, places);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        if self.durable < self.written {
            let began = Instant::now();
            self.segment.file.sync_data().map_err(|cause| {
                Fault::new(format!("make log segment {:016x} durable", self.segment.number), cause)
            })?;
            self.shared.syncs.since(began);
            self.durable = self.written;
            self.record.note(self.durable)?;
        }
        Ok(())
    }

    /// Goes to the next segment. The old one is made durable first, so that the first frame of the
    /// new one bears witness to all of it.
    fn roll(&mut self) -> Result<(), Fault> {
        if !self.frame.is_empty() {
            self.write()?;
        }
        self.sync()?;
        self.segment = self.keeper.take(self.segment.number.saturating_add(1))?;
        self.offset = HEADER as u64;
        self.shared.add_segment(self.segment.clone(), self.segment_bytes);
        Ok(())
    }

    /// Removes the oldest segments that hold no entry above the low mark. The purge that allows it
    /// and a frame of the present segment, which repeats the marks, are durable.
    fn remove_purged(&mut self) -> Result<(), Fault> {
        let Some(purged) = self.marks.purged else { return Ok(()) };
        for number in self.shared.release(purged.index, self.segment.number) {
            self.keeper.remove(number)?;
        }
        Ok(())
    }

    /// Leaves a witness to the last durable frame, so that after an orderly stop damage anywhere in
    /// the log is told from a torn tail.
    fn close(&mut self) -> Result<(), Fault> {
        self.sync()?;
        if self.witnessed < self.durable && !self.is_fresh() {
            self.write()?;
            self.sync()?;
        }
        self.record.sync()
    }
}

/// What a record does to the marks.
pub(super) fn note(marks: &mut Marks, record: &Raw<'_>) {
    match (record.kind, record.point) {
        (Kind::Item, Some(point)) => marks.item(point.index),
        (Kind::Truncate, point) => marks.truncate(point.map(|point| point.index)),
        (Kind::Purge, Some(point)) => marks.purge(point),
        (Kind::Committed, point) => marks.committed = point,
        (Kind::Vote, _) => marks.vote = Some(record.body.to_vec()),
        (Kind::Marks, _) | (Kind::Item | Kind::Purge, None) => {}
    }
}
