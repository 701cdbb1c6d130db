//! What a log should say, in the simplest form; and a seeded workload over it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        disk::Disk,
        engine::{Log, Options},
        record::{Item, Point},
        writer::Writer,
    },
    Chance,
    fake::{Act, FakeDisk},
};
use crate::contract::{Fault, GroupId};

/// Room for about 4 KiB of frames: a workload of a few dozen steps rolls many times.
pub(super) const SEGMENT_BYTES: u64 = 8192;

pub(super) fn options() -> Options {
    // The cache is smaller than a few entries, so reads go to disk as well.
    Options { group: GroupId::MAIN, segment_bytes: SEGMENT_BYTES, held_bytes_max: 1000, background: false }
}

/// The content of a log; the committed position is a hint and no part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) vote: Option<Bytes>,
    pub(super) purged: Option<Point>,
    pub(super) items: BTreeMap<u64, Item>,
}

impl Content {
    /// Reads a log whole.
    pub(super) fn of(log: &Log) -> Result<Self, Fault> {
        let items = log.plan(0..u64::MAX, usize::MAX)?.fetch()?;
        let items = items.into_iter().map(|item| (item.point.index, item)).collect();
        Ok(Self { vote: log.vote(), purged: log.ends().0, items })
    }

    fn next(&self) -> u64 {
        let low = self.purged.map_or(0, |purged| purged.index + 1);
        self.items.last_key_value().map_or(low, |(index, _)| index + 1)
    }

    fn apply(&mut self, ask: &Ask) {
        match ask {
            Ask::Append(items) => {
                self.items.extend(items.iter().map(|item| (item.point.index, item.clone())));
            }
            Ask::Vote(vote) => self.vote = Some(vote.clone()),
            Ask::Committed(_) => {}
            Ask::Truncate(keep) => {
                self.items.split_off(&keep.map_or(0, |keep| keep + 1));
            }
            Ask::Purge(point) => {
                if self.purged.is_none_or(|purged| purged.index < point.index) {
                    self.purged = Some(*point);
                    self.items = self.items.split_off(&(point.index + 1));
                }
            }
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Append(Vec<Item>),
    Vote(Bytes),
    Committed(Option<Point>),
    Truncate(Option<u64>),
    Purge(Point),
}

/// A log under test, driven on one thread, and all contents it may have after a crash.
pub(super) struct Session {
    disk: FakeDisk,
    log: Option<Log>,
    writer: Writer,
    chance: Chance,
    term: u64,
    /// Contents after each single change, with the request it belongs to (0: before the first).
    pub(super) history: Vec<(usize, Content)>,
    asked: usize,
}

impl Session {
    pub(super) fn open(disk: &FakeDisk, seed: u64) -> Result<Self, Fault> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, writer) = Log::recover(shared, options())?;
        let content = Content::of(&log)?;
        let term = content.vote.as_ref().map_or(0, |vote| u64::from(vote[0]));
        let history = vec![(0, content)];
        Ok(Self { disk: disk.clone(), log: Some(log), writer, chance: Chance(seed), term, history, asked: 0 })
    }

    pub(super) fn content(&self) -> &Content {
        &self.history.last().unwrap().1
    }

    pub(super) fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    /// Asks a few things, then lets the writer serve them as one batch.
    pub(super) fn step(&mut self) {
        let mut taken = false;
        for _ in 0..=self.chance.below(3) {
            let ask = self.invent();
            taken |= self.ask(ask);
        }
        if taken {
            self.writer.step();
        }
    }

    /// Whether the log took it: after a fault it takes nothing.
    pub(super) fn ask(&mut self, ask: Ask) -> bool {
        self.asked += 1;
        let number = self.asked;
        let disk = self.disk.clone();
        disk.note(Act::Asked(number));
        let done = Box::new(move |result: Result<(), Fault>| {
            if result.is_ok() {
                disk.note(Act::Acked(number));
            }
        });
        // An append that fills a segment is written in parts, so each entry is a change of its own.
        let parts = match &ask {
            Ask::Append(items) => items.iter().map(|item| Ask::Append(vec![item.clone()])).collect(),
            other => vec![other.clone()],
        };
        for part in parts {
            let mut content = self.content().clone();
            content.apply(&part);
            self.history.push((number, content));
        }
        let taken = match ask {
            Ask::Append(items) => self.log().append(items, done),
            Ask::Vote(vote) => self.log().save_vote(vote, done),
            Ask::Committed(point) => self.log().save_committed(point),
            Ask::Truncate(keep) => self.log().truncate(keep),
            Ask::Purge(point) => self.log().purge(point, Some(done)),
        };
        taken.is_ok()
    }

    /// Serves what was asked.
    pub(super) fn serve(&mut self) {
        self.writer.step();
    }

    /// Stops in order.
    pub(super) fn close(mut self) -> Content {
        let content = self.content().clone();
        drop(self.log.take());
        assert!(!self.writer.step());
        content
    }

    fn invent(&mut self) -> Ask {
        let content = self.content().clone();
        let low = content.purged.map_or(0, |purged| purged.index + 1);
        let next = content.next();
        match self.chance.below(20) {
            0..=1 => {
                self.term += 1;
                Ask::Vote(Bytes::from(vec![self.term as u8; 1 + self.chance.below(30) as usize]))
            }
            2..=4 => Ask::Committed(content.items.last_key_value().map(|(_, item)| item.point)),
            5 if next > low => {
                let keep = low + self.chance.below(next - low);
                Ask::Truncate(if keep == 0 { None } else { Some(keep - 1) })
            }
            6..=7 if next > low => {
                let index = low + self.chance.below(next - low);
                Ask::Purge(content.items[&index].point)
            }
            // A snapshot was installed: the low mark goes beyond the end.
            8 if self.chance.one_in(4) => Ask::Purge(Point { index: next + 3, term: self.term, leader: 1 }),
            _ => {
                let count = 1 + self.chance.below(3);
                Ask::Append((next..next + count).map(|index| self.item(index)).collect())
            }
        }
    }

    pub(super) fn item(&mut self, index: u64) -> Item {
        let size = if self.chance.one_in(40) { 6000 } else { self.chance.below(500) as usize };
        let stamp = self.chance.next();
        let body = Bytes::from(stamp.to_le_bytes().into_iter().cycle().take(size).collect::<Vec<_>>());
        Item { point: Point { index, term: self.term, leader: 1 }, form: 1, stamp, body }
    }
}
