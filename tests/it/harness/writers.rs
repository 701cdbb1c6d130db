//! Clients that write all the time, over connections they keep, and take note of everything that is not as it should be.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Nodes, Organization, Wire};

/// Writers at every node; each write is an increment of one usage, under a request id of its own.
pub struct Writers<'a> {
    nodes: &'a Nodes,
    path: String,
    token: String,
    kept: AtomicI64,
    answered: Mutex<Vec<Instant>>,
    failed: Mutex<Vec<String>>,
    end: AtomicBool,
}

/// A connection that was not used for so long may have been closed by now: a client opens another one.
const IDLE: Duration = Duration::from_millis(100);
/// A client that was sent away comes back to its node after so many writes elsewhere.
const ELSEWHERE: usize = 20;
const BODY: &str = r#"{"resource":"max_cases","amount":1}"#;

/// A connection, where it leads, and how it was used.
struct Open {
    wire: Wire,
    node: usize,
    writes: usize,
    used: Instant,
}

impl<'a> Writers<'a> {
    pub fn new(nodes: &'a Nodes, org: &Organization) -> Self {
        Self {
            nodes,
            path: org.path("/usage"),
            token: org.admin.token().to_owned(),
            kept: AtomicI64::new(0),
            answered: Mutex::default(),
            failed: Mutex::default(),
            end: AtomicBool::new(false),
        }
    }

    /// Writes until [`Writers::end`], at node `home` as long as it takes connections.
    pub fn write(&self, home: usize) {
        let mut open: Option<Open> = None;
        while !self.end.load(Ordering::SeqCst) {
            let request = uuid::Uuid::new_v4().to_string();
            open = self.insist(open, home, &request);
        }
    }

    pub fn end(&self) {
        self.end.store(true, Ordering::SeqCst);
    }

    /// Writes acknowledged so far.
    pub fn kept(&self) -> i64 {
        self.kept.load(Ordering::SeqCst)
    }

    /// Every answer but 200, and every connection that ended under a request.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }

    /// The longest time without an acknowledged write since `from`.
    pub fn longest_pause(&self, from: Instant) -> Duration {
        let mut all: Vec<Instant> =
            self.answered.lock().unwrap().iter().copied().filter(|at| *at >= from).collect();
        all.sort();
        all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// One write, until it is acknowledged; answers the connection to go on with.
    fn insist(&self, mut open: Option<Open>, home: usize, request: &str) -> Option<Open> {
        let until = Instant::now() + Duration::from_secs(60);
        let mut at = home;
        loop {
            assert!(Instant::now() < until, "no answer for a minute");
            let usable =
                |open: &Open| open.used.elapsed() < IDLE && (open.node == home || open.writes < ELSEWHERE);
            let Some(mut used) = open.take().filter(usable).or_else(|| self.open(at)) else {
                at = (at + 1) % self.nodes.urls.len();
                continue;
            };
            match used.wire.post(&self.path, &self.token, request, BODY) {
                Ok(told) if told.status == 200 => {
                    self.kept.fetch_add(1, Ordering::SeqCst);
                    self.answered.lock().unwrap().push(Instant::now());
                    return (!told.closes).then(|| Open {
                        writes: used.writes + 1,
                        used: Instant::now(),
                        ..used
                    });
                }
                Ok(told) => self.fail(used.node, format!("{} {}", told.status, told.json)),
                // A connection that never answered was refused, if late.
                Err(_) if used.writes == 0 => {}
                Err(error) => self.fail(used.node, error.to_string()),
            }
            at = (used.node + 1) % self.nodes.urls.len();
        }
    }

    fn open(&self, node: usize) -> Option<Open> {
        let wire = Wire::open(&self.nodes.urls[node]).ok()?;
        Some(Open { wire, node, writes: 0, used: Instant::now() })
    }

    fn fail(&self, node: usize, what: String) {
        self.failed.lock().unwrap().push(format!("node {}: {what}", node + 1));
    }
}
