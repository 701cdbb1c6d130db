//! Four clients that write and read while disks fail, and check every answer.
//!
//! Each write adds one to a counter under a request id and is sent until it is answered. Each strong read
//! must lie between the writes acknowledged before it began and those begun before it ended, at whichever
//! node it is asked; so no read goes backward, nothing acknowledged is missing, nothing counts twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::nodes::Trio;
use crate::harness::{Caller, Organization, await_condition};

const CLIENTS: usize = 4;
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);

struct Shared {
    urls: Vec<String>,
    platform: Caller,
    write: String,
    read: String,
    begun: AtomicI64,
    kept: AtomicI64,
    reads: AtomicI64,
    stop: AtomicBool,
}

/// The running clients.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(urls: Vec<String>, platform: &Caller, org: &Organization) -> Self {
        let shared = Arc::new(Shared {
            urls,
            platform: platform.clone(),
            write: org.path("/usage"),
            read: org.path("/stats"),
            begun: AtomicI64::new(0),
            kept: AtomicI64::new(0),
            reads: AtomicI64::new(0),
            stop: AtomicBool::new(false),
        });
        let client = |number: usize| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(number))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { shared, clients }
    }

    /// Waits until writes were acknowledged and reads answered since the call.
    pub(super) fn await_progress(&self) {
        let now = || (self.shared.kept.load(Ordering::SeqCst), self.shared.reads.load(Ordering::SeqCst));
        let (kept, reads) = now();
        await_condition("writes and reads to go on", ANSWERED_WITHIN, || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client found a wrong answer");
            now().0 > kept + 8 && now().1 > reads + 8
        });
    }

    /// Stops; every node holds exactly what was acknowledged, and all hold the same.
    pub(super) fn end(self, trio: &Trio, org: &Organization) {
        let kept = self.stop();
        for node in &trio.nodes {
            assert_eq!(count_at(&node.url, &trio.platform, org), Some(kept), "node {}", node.number);
        }
        trio.assert_equal_files(0);
    }

    /// Ends the clients; answers how many writes were acknowledged, all that were begun.
    pub(super) fn stop(self) -> i64 {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("a client that found no wrong answer");
        }
        let kept = self.shared.kept.load(Ordering::SeqCst);
        assert_eq!(kept, self.shared.begun.load(Ordering::SeqCst), "every write was insisted on");
        assert!(self.shared.reads.load(Ordering::SeqCst) > 0);
        kept
    }
}

impl Shared {
    fn run(&self, number: usize) {
        let mut turn = number;
        while !self.stop.load(Ordering::SeqCst) {
            turn += 1;
            self.write(turn);
            self.read(turn);
        }
    }

    fn write(&self, turn: usize) {
        let id = uuid::Uuid::new_v4().to_string();
        let body = json!({ "resource": "max_cases", "amount": 1 }).to_string();
        self.begun.fetch_add(1, Ordering::SeqCst);
        let answer = self.insist(turn, |caller| {
            let headers = [("x-request-id", id.as_str())];
            caller.send("POST", &self.write, Some(body.as_bytes()), &headers)
        });
        self.kept.fetch_add(1, Ordering::SeqCst);
        assert!(answer["usage"].as_i64().is_some(), "{answer}");
    }

    fn read(&self, turn: usize) {
        let mut least = 0;
        let answer = self.insist(turn, |caller| {
            least = self.kept.load(Ordering::SeqCst);
            caller.send("GET", &self.read, None, &[("x-consistency", "strong")])
        });
        let most = self.begun.load(Ordering::SeqCst);
        let seen = answer["usage"]["active_cases"].as_i64().unwrap();
        assert!(least <= seen && seen <= most, "read {seen}, when {least} were kept and {most} begun");
        self.reads.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks one node after the other until one answers. A node that fails says 5xx or nothing; any other
    /// answer but 200 would be a wrong one.
    fn insist(&self, turn: usize, mut ask: impl FnMut(&Caller) -> Option<crate::harness::Answer>) -> Value {
        let until = Instant::now() + ANSWERED_WITHIN;
        for step in turn.. {
            match ask(&self.platform.at(&self.urls[step % self.urls.len()])) {
                Some(answer) if answer.status < 500 => {
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    return answer.json;
                }
                _ => thread::sleep(Duration::from_millis(30)),
            }
            assert!(Instant::now() < until, "no answer within {ANSWERED_WITHIN:?}");
        }
        unreachable!()
    }
}

/// The counter as one node reads it.
pub(super) fn count_at(url: &str, platform: &Caller, org: &Organization) -> Option<i64> {
    let here = platform.at(url);
    let answer = here.send("GET", &org.path("/stats"), None, &[("x-consistency", "strong")])?;
    answer.json["usage"]["active_cases"].as_i64()
}
