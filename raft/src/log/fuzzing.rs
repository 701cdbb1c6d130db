//! What a fuzzer may do to a log: any bytes as its files, or a log of ours with some of it changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    disk::{Disk, DiskFile},
    engine::{Log, Options},
    record::{Item, Point, Raw, Seal},
    segment::{name_of, parse_segment, witness},
    writer::Writer,
};
use crate::{
    contract::{Fault, GroupId},
    fuzzing::Source,
};

/// Small, so that a few requests roll it.
const SEGMENT_BYTES: u64 = 8192;

type Content = (Option<Bytes>, Option<Point>, Vec<Item>);
type Files = BTreeMap<String, Arc<Mutex<Vec<u8>>>>;

/// Files in memory; writes are durable at once.
#[derive(Clone, Default)]
struct Memory {
    files: Arc<Mutex<Files>>,
    salts: Arc<Mutex<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct InMemory(Arc<Mutex<Vec<u8>>>);

impl Disk for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let found = lock(&self.files).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(InMemory(found)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let fresh: Arc<Mutex<Vec<u8>>> = Arc::default();
        lock(&self.files).insert(name.to_owned(), fresh.clone());
        Ok(Arc::new(InMemory(fresh)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        let mut salts = lock(&self.salts);
        *salts += 1;
        Ok(salts.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl DiskFile for InMemory {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = lock(&self.0);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = bytes.get(from..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let mut bytes = lock(&self.0);
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.saturating_add(from.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes.get_mut(at..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(from);
        Ok(())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        lock(&self.0).resize(usize::try_from(size).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

fn open(disk: &Memory) -> Result<(Log, Writer), Fault> {
    let options = Options {
        group: GroupId::MAIN,
        segment_bytes: SEGMENT_BYTES,
        held_bytes_max: 500,
        background: false,
    };
    Log::recover(Arc::new(disk.clone()), options)
}

/// Everything the log says, read back from the disk too.
fn content(log: &Log) -> Content {
    let items = log.plan(0..u64::MAX, usize::MAX).and_then(super::read::Plan::fetch);
    let items = items.unwrap_or_else(|fault| panic!("a log that was accepted cannot be read: {fault}"));
    (log.vote(), log.ends().0, items)
}

/// A recovered log must be whole, take an entry, and be found again with it.
fn go_on(disk: &Memory, log: Log, mut writer: Writer) {
    let (_, purged, items) = content(&log);
    let last = items.last().map(|item| item.point).or(purged);
    let index = last.map_or(0, |point| point.index.saturating_add(1));
    if index == u64::MAX {
        return; // no entry can follow
    }
    let point = Point { index, term: last.map_or(1, |point| point.term), leader: 1 };
    let item = Item { point, form: 1, stamp: 9, body: Bytes::from_static(b"next") };
    log.append(vec![item.clone()], Box::new(|done| assert!(done.is_ok()))).unwrap();
    writer.step();
    drop(log);
    while writer.step() {}
    drop(writer);
    let (log, _writer) = open(disk).unwrap_or_else(|fault| panic!("not found again: {fault}"));
    assert_eq!(content(&log).2.last(), Some(&item));
}

/// Any bytes as segment files: recovery answers, and what it accepts is of use.
pub(crate) fn any_files(source: &mut Source<'_>) {
    let disk = Memory::default();
    let count = source.below(4);
    for number in 1..=count as u64 {
        let size = source.below(12_000);
        let bytes = source.bytes(size).to_vec();
        lock(&disk.files).insert(name_of(number), Arc::new(Mutex::new(bytes)));
    }
    if let Ok((log, writer)) = open(&disk) {
        go_on(&disk, log, writer);
    }
}

/// A log of ours, harmed: what recovery accepts is what the log was at some time.
pub(crate) fn harmed_log(source: &mut Source<'_>) {
    let disk = Memory::default();
    let history = write_some(&disk, source);
    let known = harm(&disk, source);
    let Ok((log, writer)) = open(&disk) else { return };
    let found = content(&log);
    assert!(!known || history.contains(&found), "made up: {found:?}");
    go_on(&disk, log, writer);
}

/// A few requests and restarts; everything the log was after each.
fn write_some(disk: &Memory, source: &mut Source<'_>) -> Vec<Content> {
    let mut history = vec![(None, None, Vec::new())];
    for _ in 0..=source.below(2) {
        let (log, mut writer) = open(disk).unwrap();
        for _ in 0..source.below(12) {
            ask(&log, source);
            writer.step();
            history.push(content(&log));
        }
        drop(log);
        // In order, or not.
        while source.below(2) == 0 && writer.step() {}
    }
    history
}

fn ask(log: &Log, source: &mut Source<'_>) {
    let (purged, last) = log.ends();
    let low = purged.map_or(0, |point| point.index + 1);
    let next = last.map_or(low, |point| point.index + 1);
    let done = || Box::new(|done: Result<(), Fault>| assert!(done.is_ok()));
    match source.below(6) {
        0 => log.save_vote(Bytes::copy_from_slice(source.bytes(3)), done()),
        1 => log.truncate((next > low).then(|| low + source.below(8) as u64)),
        2 if next > low => {
            let upto = (low + source.below(4) as u64).min(next - 1);
            log.purge(Point { index: upto, term: 1, leader: 1 }, Some(done()))
        }
        _ => {
            let point = Point { index: next, term: 1, leader: 1 };
            let body = vec![source.byte(); source.below(2_000)];
            log.append(vec![Item { point, form: 1, stamp: 3, body: body.into() }], done())
        }
    }
    .unwrap();
}

/// Changes the files; whether in a way that checksums are sure to tell (at most three bits, or an end cut off).
fn harm(disk: &Memory, source: &mut Source<'_>) -> bool {
    let files: Vec<_> = lock(&disk.files).iter().map(|(name, file)| (name.clone(), file.clone())).collect();
    for _ in 0..source.below(4) {
        let Some((name, file)) = files.get(source.below(files.len())) else { continue };
        let mut bytes = lock(file);
        let at = source.below(bytes.len().max(1));
        match source.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let _ = disk.remove(name);
            }
            2 => {
                let new = source.bytes(16).to_vec();
                bytes.iter_mut().skip(at).zip(new).for_each(|(to, from)| *to = from);
                return false;
            }
            _ => {
                let bit = 1 << source.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
        }
    }
    true
}

/// One record or segment of any bytes; with its checksum made right, so that what lies behind it is reached.
pub(crate) fn record(data: &[u8]) {
    let seal = Seal { group: GroupId::MAIN, salt: 7 };
    let mut bytes = data.to_vec();
    if let Some(body) = bytes.len().checked_sub(super::record::RECORD_HEAD) {
        let size = u32::try_from(body).unwrap_or(0).to_le_bytes();
        bytes.iter_mut().zip(size).for_each(|(to, from)| *to = from);
        let sum = seal.sum(&[&bytes[..4], &bytes[8..]]).to_le_bytes();
        bytes.iter_mut().skip(4).zip(sum).for_each(|(to, from)| *to = from);
    }
    if let Ok(found) = Raw::decode(&bytes, &seal) {
        let mut again = Vec::new();
        found.encode(&seal, &mut again).unwrap();
        let read = Raw::decode(&again, &seal);
        assert_eq!(read, Ok(found));
    }
    let _ = Raw::decode(data, &seal);
    if let Ok(parsed) = parse_segment(data) {
        assert!(parsed.end <= data.len().next_multiple_of(8).max(super::segment::HEADER));
        let _ = witness(data, parsed.end, 1, &parsed.seal);
    }
}
