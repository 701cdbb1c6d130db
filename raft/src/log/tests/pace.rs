//! How fast it is. Run by hand, in release: `cargo test --release pace -- --ignored --nocapture`.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::super::{
    disk::RealDisk,
    engine::{Log, Options},
    record::{Item, Point},
};
use crate::contract::GroupId;

#[test]
#[ignore = "a measurement"]
fn durable_appends_per_second() {
    for appenders in [1, 64] {
        let folder = tempfile::Builder::new().tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let options = Options {
            group: GroupId::MAIN,
            segment_bytes: 64 << 20,
            held_bytes_max: 32 << 20,
            background: true,
        };
        let log = Arc::new(Log::open(Arc::new(disk), options).unwrap());
        let next = Arc::new(Mutex::new(0));
        let start = Instant::now();
        let threads: Vec<_> = (0..appenders)
            .map(|_| {
                let (log, next) = (log.clone(), next.clone());
                thread::spawn(move || {
                    let mut took = Vec::new();
                    while start.elapsed() < Duration::from_secs(3) {
                        let (tell, told) = mpsc::channel();
                        let asked = Instant::now();
                        {
                            let mut next = next.lock().unwrap();
                            let point = Point { index: *next, term: 1, leader: 1 };
                            let item = Item { point, form: 1, stamp: 0, body: Bytes::from_static(&[7; 256]) };
                            log.append(vec![item], Box::new(move |_| tell.send(()).unwrap())).unwrap();
                            *next += 1;
                        }
                        told.recv().unwrap();
                        took.push(asked.elapsed());
                    }
                    took
                })
            })
            .collect();
        let mut took: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        took.sort_unstable();
        let rate = took.len() as u64 * 1000 / start.elapsed().as_millis() as u64;
        let (half, most) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{appenders} appenders of 256 bytes: {rate}/s, p50 {half:?}, p99 {most:?}");
    }
}
