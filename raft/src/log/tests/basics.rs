//! Rolling, purging and reading, on a real folder.

use std::{path::Path, sync::Arc, sync::mpsc};

use bytes::Bytes;

use super::super::{
    disk::RealDisk,
    engine::{Log, Options},
    record::{Item, Point},
};
use crate::contract::{Fault, GroupId};

fn open(folder: &Path, group: GroupId) -> Result<Log, Fault> {
    let disk = RealDisk::open(folder).map_err(|cause| Fault::new("open", cause))?;
    let options = Options { group, segment_bytes: 32 << 10, held_bytes_max: 4000, background: true };
    Log::open(Arc::new(disk), options)
}

fn item(index: u64) -> Item {
    let body = Bytes::from(index.to_le_bytes().repeat(100));
    Item { point: Point { index, term: 2, leader: 1 }, form: 1, stamp: index * 10, body }
}

fn append(log: &Log, indices: std::ops::Range<u64>) {
    let (tell, told) = mpsc::channel();
    let items = indices.map(item).collect();
    log.append(items, Box::new(move |result| tell.send(result.is_ok()).unwrap())).unwrap();
    assert!(told.recv().unwrap());
}

fn read(log: &Log, range: std::ops::Range<u64>) -> Vec<Item> {
    log.plan(range, usize::MAX).unwrap().fetch().unwrap()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().filter(|f| f.as_ref().unwrap().path().extension().is_some()).count()
}

#[test]
fn entries_are_read_from_memory_and_from_disk_alike() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    for start in (0..200).step_by(7) {
        append(&log, start..start + 7);
    }
    assert!(log.plan(201..203, usize::MAX).unwrap().is_held(), "the newest are in memory");
    assert!(!log.plan(0..203, usize::MAX).unwrap().is_held(), "the oldest are not");
    assert_eq!(read(&log, 0..203), (0..203).map(item).collect::<Vec<_>>());
    assert_eq!(log.plan(10..100, 2000).unwrap().fetch().unwrap().len(), 2);
    assert_eq!(log.plan(10..100, 1).unwrap().fetch().unwrap().len(), 1);
    drop(log);
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    assert_eq!(read(&log, 0..500), (0..203).map(item).collect::<Vec<_>>());
}

#[test]
fn a_vote_outlives_the_segments_below_the_purge() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    let (tell, told) = mpsc::channel();
    log.save_vote(Bytes::from_static(b"vote"), Box::new(move |_| tell.send(()).unwrap())).unwrap();
    told.recv().unwrap();
    append(&log, 0..300);
    let before = log.stats();
    assert!(before.segments > 8 && before.bytes_on_disk >= 8 * (32 << 10));
    let (tell, told) = mpsc::channel();
    log.purge(item(290).point, Some(Box::new(move |_| tell.send(()).unwrap()))).unwrap();
    told.recv().unwrap();
    let after = log.stats();
    assert!(after.segments <= 2, "{after:?}");
    assert_eq!((after.first_index, after.last_index), (Some(291), Some(299)));
    drop(log);
    assert!(files(folder.path()) <= 3);
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    assert_eq!(log.vote(), Some(Bytes::from_static(b"vote")));
    assert_eq!(log.ends(), (Some(item(290).point), Some(item(299).point)));
    assert_eq!(read(&log, 0..500), (291..300).map(item).collect::<Vec<_>>());
    append(&log, 300..310);
}

#[test]
fn restarts_without_writes_leave_no_files_behind() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        drop(open(folder.path(), GroupId::MAIN).unwrap());
    }
    assert_eq!(files(folder.path()), 1);
}

#[test]
fn an_entry_larger_than_a_segment_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    append(&log, 0..3);
    let big = Item { body: Bytes::from(vec![5; 100_000]), ..item(3) };
    let (tell, told) = mpsc::channel();
    log.append(vec![big.clone(), item(4)], Box::new(move |result| tell.send(result.is_ok()).unwrap()))
        .unwrap();
    assert!(told.recv().unwrap());
    drop(log);
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    assert_eq!(read(&log, 3..5), vec![big, item(4)]);
}

#[test]
fn a_second_process_and_another_group_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    append(&log, 0..1);
    assert!(open(folder.path(), GroupId::MAIN).is_err());
    drop(log);
    let why = open(folder.path(), GroupId(2)).err().unwrap().to_string();
    assert!(why.contains("another log"), "{why}");
}

#[test]
fn a_hole_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), GroupId::MAIN).unwrap();
    append(&log, 5..8);
    assert!(log.append(vec![item(9)], Box::new(|_| {})).is_err());
}
