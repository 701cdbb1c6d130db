//! Sixteen clients at once, all over the nodes, and what they were told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    fleet::Fleet,
    history::{Act, Event, History, Said, State},
    lab::NODES,
    rng::Rng,
};
use crate::harness::{Answer, Caller, code};

const CLIENTS: usize = 16;
/// After this long without an answer an operation is given up: its outcome is unknown.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Between two tries that were not answered at once.
const PAUSE: Duration = Duration::from_millis(25);

/// The resources that clients count: (plan of the organization, resource, whether it is given back too).
const COUNTERS: &[(&str, &str, bool)] = &[
    ("enterprise", "max_cases", false),
    ("enterprise", "max_dashboards", false),
    ("free", "max_workflows", true),
];
const ROWS: usize = 2;

/// What the clients work on.
struct World {
    /// Counters: key, path of the organization, resource, whether it is given back.
    counters: Vec<(String, String, &'static str, bool)>,
    /// Organizations: key, path.
    rows: Vec<(String, String)>,
    history: Mutex<History>,
    /// Writes that were answered with a success.
    kept: AtomicU64,
    stop: AtomicBool,
}

/// The clients, at work.
pub struct Load {
    world: Arc<World>,
    clients: Vec<JoinHandle<()>>,
    auditor: Client,
}

impl Load {
    /// Creates what the clients work on, and sets them to work.
    pub fn start(name: &str, fleet: &Fleet, platform: &Caller, seed: u64) -> Self {
        let world = Arc::new(World::create(name, platform, seed));
        let client = |number: usize| Client {
            number,
            seed,
            rng: Rng::new(seed, number),
            nodes: fleet.everywhere(platform),
            stays: true,
            claims: 0,
            world: Arc::clone(&world),
        };
        let clients = (0..CLIENTS).map(|number| {
            let mut client = client(number);
            std::thread::spawn(move || client.work())
        });
        let clients = clients.collect();
        Self { auditor: client(CLIENTS), clients, world }
    }

    /// How many writes succeeded so far.
    pub fn kept(&self) -> u64 {
        assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client met what must not be");
        self.world.kept.load(Ordering::SeqCst)
    }

    /// Notes that a fault begins or ends now.
    pub fn mark(&self, what: &'static str) {
        let mut history = self.world.history.lock().unwrap();
        let now = history.now();
        history.marks.push((now, what));
    }

    /// Ends the work, waits for `rest`, and reads every key once more at every node.
    pub fn finish(mut self, rest: &mut dyn FnMut()) -> History {
        self.stop();
        rest();
        self.auditor.read_everything();
        self.history()
    }

    /// As `finish`, of a cluster that may be broken by now.
    pub fn cut_off(mut self) -> History {
        self.stop();
        self.history()
    }

    fn history(&self) -> History {
        std::mem::replace(&mut *self.world.history.lock().unwrap(), History::begin("", 0))
    }

    fn stop(&mut self) {
        self.mark("the clients leave");
        self.world.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.world.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
        if std::thread::panicking() {
            println!("the history so far is in {}", self.world.history.lock().unwrap().keep().display());
        }
    }
}

impl World {
    fn create(name: &str, platform: &Caller, seed: u64) -> Self {
        let create = |slug: &str, plan: &str| {
            let created = platform.post("/api/v2/organizations", &organization(slug, plan, "first"));
            assert_eq!(created.status, 201, "{}", created.body);
            (format!("/api/v2/organizations/{}", created.json["id"].as_str().unwrap()), created.json)
        };
        let mut history = History::begin(name, seed);
        let mut counters = Vec::new();
        for (number, (plan, resource, back)) in COUNTERS.iter().enumerate() {
            let (path, seen) = create(&format!("counted-{number}"), plan);
            let key = format!("counter {number} ({resource})");
            let limit = seen["quotas"][resource].as_i64().unwrap();
            history.first.insert(key.clone(), State::Counter { value: 0, limit });
            counters.push((key, path, *resource, *back));
        }
        let mut rows = Vec::new();
        for number in 0..ROWS {
            let (path, _) = create(&format!("renamed-{number}"), "enterprise");
            let Some(Said::Row { version, name }) = row(&platform.get(&path)) else { panic!("{path}") };
            let key = format!("row {number}");
            history.first.insert(key.clone(), State::Row { version, name });
            rows.push((key, path));
        }
        Self {
            counters,
            rows,
            history: Mutex::new(history),
            kept: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }
}

fn organization(slug: &str, plan: &str, name: &str) -> Value {
    json!({ "name": name, "slug": slug, "domain": format!("{slug}.test"), "plan": plan,
            "billing_email": format!("bills@{slug}.test") })
}

/// One client. What it does follows from the seed; when, and what comes of it, do not.
struct Client {
    number: usize,
    seed: u64,
    rng: Rng,
    nodes: Vec<Caller>,
    /// Whether it asks again until it is answered; else it goes after the first try, whatever came of it.
    stays: bool,
    claims: usize,
    world: Arc<World>,
}

impl Client {
    fn work(&mut self) {
        for operation in 0.. {
            if self.world.stop.load(Ordering::SeqCst) {
                return;
            }
            // A stream for each: what comes next must not depend on how the last one went.
            self.rng = Rng::new(self.seed, (self.number + 1) << 32 | operation);
            self.stays = self.rng.below(4) != 0;
            match self.rng.below(100) {
                0..40 => self.add(),
                40..55 => self.count(),
                55..85 => self.rename(),
                _ => self.claim(),
            }
        }
    }

    fn add(&mut self) {
        let world = Arc::clone(&self.world);
        let (key, path, resource, back) = self.rng.pick(&world.counters);
        let amount = if *back && self.rng.below(5) < 2 { -1 } else { 1 };
        let body = json!({ "resource": resource, "amount": amount });
        self.operate(key, Act::Add(amount), |client| {
            let answer = client.insist("POST", &format!("{path}/usage"), Some(&body), &[])?;
            match (answer.status, code(&answer)) {
                (200, _) => Some(Said::Total(answer.json["usage"].as_i64()?)),
                (403, "quota_exceeded") | (409, "usage_below_zero") => Some(Said::Refused),
                _ => panic!("{} {}", answer.status, answer.body),
            }
        });
    }

    fn count(&mut self) {
        let world = Arc::clone(&self.world);
        let (key, path, resource, _) = self.rng.pick(&world.counters);
        self.operate(key, Act::Count, |client| client.counted(path, resource));
    }

    fn counted(&mut self, path: &str, resource: &str) -> Option<Said> {
        let answer = self.read(&format!("{path}/quotas?resource={resource}"))?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Some(Said::Total(answer.json["usage"].as_i64()?))
    }

    /// Reads an organization and renames it, unless somebody else did in between.
    fn rename(&mut self) {
        let world = Arc::clone(&self.world);
        let (key, path) = self.rng.pick(&world.rows);
        let name = format!("client {} draw {:x}", self.number, self.rng.next());
        let read = self.operate(key, Act::Row, |client| row(&client.read(path)?));
        let Some(Said::Row { version: seen, .. }) = read else { return };
        let body = json!({ "name": name });
        let tag = format!("\"{seen}\"");
        let began = world.history.lock().unwrap().now();
        let mut shown = None;
        self.operate(key, Act::Rename { seen, name }, |client| {
            let answer = client.insist("PUT", path, Some(&body), &[("if-match", &tag)])?;
            shown = row(&answer);
            match answer.status {
                200 => Some(Said::Done),
                412 => Some(Said::Refused),
                _ => panic!("{} {}", answer.status, answer.body),
            }
        });
        // The answer shows the row as some moment of the call had it: a read of its own.
        if let Some(said) = shown {
            self.record(key, Act::Row, said, began);
        }
    }

    /// Creates the organization that all clients try to create about now.
    fn claim(&mut self) {
        self.claims += 1;
        let slug = format!("claimed-{}", self.claims);
        let first = State::Slug { taken: false };
        self.world.history.lock().unwrap().first.entry(slug.clone()).or_insert(first);
        let mut body = organization(&slug, "free", &format!("client {}", self.number));
        body["domain"] = json!(format!("{slug}-{}.test", self.number));
        self.operate(&slug, Act::Claim, |client| {
            let answer = client.insist("POST", "/api/v2/organizations", Some(&body), &[])?;
            match (answer.status, code(&answer)) {
                (201, _) => Some(Said::Done),
                (409, "slug_taken") => Some(Said::Refused),
                _ => panic!("{} {}", answer.status, answer.body),
            }
        });
    }

    /// Reads every key at every node.
    fn read_everything(&mut self) {
        let world = Arc::clone(&self.world);
        let keys: Vec<String> = world.history.lock().unwrap().first.keys().cloned().collect();
        for node in NODES {
            self.number = CLIENTS + node;
            for (key, path, resource, _) in &world.counters {
                self.operate(key, Act::Count, |client| client.counted(path, resource)).expect("an answer");
            }
            for (key, path) in &world.rows {
                self.operate(key, Act::Row, |client| row(&client.read(path)?)).expect("an answer");
            }
            for slug in keys.iter().filter(|key| key.starts_with("claimed-")) {
                self.operate(slug, Act::Look, |client| {
                    let answer = client.read(&format!("/api/v2/organizations/{slug}"))?;
                    assert!([200, 404].contains(&answer.status), "{}", answer.body);
                    Some(Said::Exists(answer.status == 200))
                })
                .expect("an answer");
            }
        }
    }

    /// Performs an operation and records it; a read without an answer says nothing and is dropped.
    fn operate(&mut self, key: &str, act: Act, ask: impl FnOnce(&mut Self) -> Option<Said>) -> Option<Said> {
        let began = self.world.history.lock().unwrap().now();
        let said = ask(self);
        match &said {
            Some(said) => self.record(key, act, said.clone(), began),
            None if matches!(act, Act::Count | Act::Row | Act::Look) => {}
            None => self.record(key, act, Said::Unknown, began),
        }
        said
    }

    fn record(&self, key: &str, act: Act, said: Said, called: Duration) {
        let mut history = self.world.history.lock().unwrap();
        let (client, key, answered) = (self.number, key.to_owned(), history.now());
        let event = Event { client, key, act, said, called, answered };
        self.world.kept.fetch_add(u64::from(event.is_kept_write()), Ordering::SeqCst);
        history.events.push(event);
    }

    fn read(&mut self, path: &str) -> Option<Answer> {
        self.insist("GET", path, None, &[("x-consistency", "strong")])
    }

    /// Asks under one request id until there is an answer, at the nodes in turn, beginning with its own; gives
    /// up in the end. A node whose clock is wrong may not believe the token: another one will.
    fn insist(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let id = (u128::from(self.rng.next()) << 64) | u128::from(self.rng.next());
        let id = uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid().to_string();
        let headers = [headers, &[("x-request-id", id.as_str())]].concat();
        let body = body.map(Value::to_string);
        let (home, began) = (self.number % NODES.len(), Instant::now());
        for turn in 0.. {
            let node = &self.nodes[(home + turn) % NODES.len()];
            match node.send(method, path, body.as_ref().map(String::as_bytes), &headers) {
                Some(answer) if ![401, 503].contains(&answer.status) => return Some(answer),
                _ if began.elapsed() > GIVE_UP || !self.stays => return None,
                _ => std::thread::sleep(PAUSE),
            }
        }
        unreachable!()
    }
}

/// Version and name in the answer to a read of an organization.
fn row(answer: &Answer) -> Option<Said> {
    let version = answer.header("etag")?.trim_matches('"').parse().ok()?;
    Some(Said::Row { version, name: answer.json["name"].as_str()?.to_owned() })
}
