//! Three real processes of which one comes to hold something else: it is found out, and answers nothing wrong.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Caller, Demo, Organization, await_condition, code, create_organization};

const PAGE: u64 = 4096;
/// How long finding and repairing may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);

/// Three nodes that read every file through all the time.
fn scrubbing(bug: &str) -> Demo {
    Demo::configured(
        &[],
        &[
            ("THREATFLOW_SCRUB_CYCLE_MS", "1000"),
            ("THREATFLOW_SCRUB_KIB_PER_S", "65536"),
            ("TF_TEST_BUG", bug),
        ],
    )
}

/// One bit of every page but the first of a file, and of every page in its write-ahead log.
fn flip_bits(store: &Path, org: &Organization) {
    let file = store.join(format!("tenants/{}.db", org.id));
    let flip = |path: &Path, first: u64, stride: u64| {
        let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(path) else { return 0 };
        let places: Vec<u64> =
            (0..).map(|n| first + n * stride).take_while(|at| *at < file.metadata().unwrap().len()).collect();
        for at in &places {
            let mut byte = [0];
            // A log is emptied whenever its node likes.
            if file.read_exact_at(&mut byte, *at).is_err() {
                break;
            }
            file.write_all_at(&[byte[0] ^ 16], *at).unwrap();
        }
        places.len()
    };
    assert!(flip(&file, PAGE + 900, PAGE) > 3, "too few pages to be damaged");
    // A header of 32 bytes; before each page a header of 24.
    flip(&file.with_extension("db-wal"), 32 + 24 + 900, 24 + PAGE);
}

/// What was reported about a file, `(node, found, repaired)`, oldest first.
fn reports(platform: &Caller, org: &Organization) -> Vec<(u64, String, bool)> {
    let path = "/api/v2/organizations/system/audit-events?action=membership.report_divergence&limit=200";
    let Some(trail) = platform.try_get(path).filter(|answer| answer.status == 200) else { return Vec::new() };
    let events = trail.json["data"].as_array().cloned().unwrap_or_default();
    let about = |row: &Value| {
        let (event, changes) = (&row["event"], &row["event"]["changes"]);
        let found = changes["found"].as_str().unwrap().to_owned();
        (event["resource"]["id"] == json!(org.id))
            .then(|| (changes["node"].as_u64().unwrap(), found, changes["repaired"].as_bool().unwrap()))
    };
    let mut all: Vec<_> = events.iter().filter_map(about).collect();
    all.reverse();
    all
}

/// Files that nodes do not answer from, as the status shows them; `None` while a node does not say.
fn alarms(platform: &Caller) -> Option<usize> {
    let status = platform.try_get("/api/v2/cluster").filter(|answer| answer.status == 200)?;
    let members = status.json["members"].as_array()?.clone();
    members.iter().map(|member| Some(member["about"]["alarms"].as_object()?.len())).sum()
}

/// Every file on every node, by content.
fn await_equal(demo: &Demo, platform: &Caller) {
    await_condition("all nodes to hold the same rows", PATIENCE, || {
        let digests = demo.urls.iter().map(|url| {
            let answer = platform.at(url).try_get("/api/v2/cluster/digests")?;
            (answer.status == 200).then(|| answer.json["files"].clone())
        });
        let digests: Option<Vec<Value>> = digests.collect();
        digests.is_some_and(|all| all.iter().all(|one| *one == all[0] && one.as_object().unwrap().len() == 2))
    });
}

/// Counts up, and reads everywhere what was counted, until it is told to stop: no answer is ever wrong.
struct Traffic<'a> {
    demo: &'a Demo,
    org: &'a Organization,
    platform: &'a Caller,
    kept: AtomicI64,
    asked: AtomicI64,
    refused: AtomicI64,
    stop: AtomicBool,
}

impl<'a> Traffic<'a> {
    fn new(demo: &'a Demo, org: &'a Organization, platform: &'a Caller) -> Self {
        let zero = AtomicI64::default;
        Self {
            demo,
            org,
            platform,
            kept: zero(),
            asked: zero(),
            refused: zero(),
            stop: AtomicBool::new(false),
        }
    }

    fn write(&self) {
        let body = json!({ "resource": "max_cases", "amount": 1 }).to_string();
        for turn in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let id = uuid::Uuid::new_v4().to_string();
            let headers = [("x-request-id", id.as_str())];
            self.asked.fetch_add(1, Ordering::SeqCst);
            for again in 0.. {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                let at = self.platform.at(&self.demo.urls[(turn + again) % 3]);
                match at.send("POST", &self.org.path("/usage"), Some(body.as_bytes()), &headers) {
                    Some(answer) if answer.status != 503 => {
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        break;
                    }
                    _ => std::thread::yield_now(),
                }
            }
            self.kept.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read(&self, node: usize) {
        let at = self.platform.at(&self.demo.urls[node]);
        while !self.stop.load(Ordering::SeqCst) {
            let before = self.kept.load(Ordering::SeqCst);
            let Some(answer) = at.send("GET", &self.org.path("/stats"), None, &[("x-consistency", "strong")])
            else {
                continue;
            };
            let after = self.asked.load(Ordering::SeqCst);
            if answer.status == 503 {
                self.refused.fetch_add(i64::from(code(&answer) == "file_quarantined"), Ordering::SeqCst);
                continue;
            }
            let shown = answer.json["usage"]["active_cases"].as_i64().unwrap_or_default();
            assert!((before..=after).contains(&shown), "{before}..={after}: {}", answer.body);
        }
    }

    /// Runs `work` beside the traffic.
    fn during(&self, work: impl FnOnce()) {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        std::thread::scope(|scope| {
            let _stops = Stop(&self.stop);
            scope.spawn(|| self.write());
            (0..3).for_each(|node| drop(scope.spawn(move || self.read(node))));
            work();
        });
    }
}

fn fill(org: &Organization) {
    for _ in 0..30 {
        let body = json!({ "resource": "max_feeds", "amount": 1 });
        assert_eq!(org.admin.post(&org.path("/usage"), &body).status, 200);
    }
}

/// Has every node copy its write-ahead logs into its files.
fn checkpoint(demo: &Demo, platform: &Caller) {
    for url in &demo.urls {
        assert_eq!(platform.at(url).post("/api/v2/cluster/snapshot", &json!({})).status, 200);
    }
}

#[test]
fn flipped_bits_are_found_set_aside_and_repaired_on_whichever_node() {
    let demo = scrubbing("");
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    fill(&org);
    for case in ["a follower", "a follower that is stopped", "the leader"] {
        checkpoint(&demo, &platform);
        let leader = demo.leader(&platform);
        let node = if case == "the leader" { leader } else { (leader + 1) % 3 };
        let before = reports(&platform, &org).len();
        let pid = demo.pid(node);
        let traffic = Traffic::new(&demo, &org, &platform);
        let usage = org.admin.get(&org.path("/stats")).json["usage"]["active_cases"].as_i64();
        traffic.kept.store(usage.unwrap_or_default(), Ordering::SeqCst);
        traffic.asked.store(usage.unwrap_or_default(), Ordering::SeqCst);
        traffic.during(|| {
            if case.ends_with("stopped") {
                demo.signal(node, "-STOP");
                flip_bits(&demo.store(node), &org);
                demo.kill(node);
            } else {
                flip_bits(&demo.store(node), &org);
            }
            let mut seen = Vec::new();
            await_condition(&format!("the repair of {case}"), PATIENCE, || {
                seen = reports(&platform, &org).into_iter().skip(before).collect();
                seen.last().is_some_and(|last| last.2) && alarms(&platform) == Some(0)
            });
            let number = node as u64 + 1;
            let wanted = [(number, "damaged".to_owned(), false), (number, "damaged".to_owned(), true)];
            assert_eq!(seen, wanted, "{case}");
        });
        if !case.ends_with("stopped") {
            assert_eq!(demo.pid(node), pid, "{case}: the node went on");
        }
        assert_ne!((case == "the leader").then_some(leader), Some(demo.leader(&platform)), "it led on");
        await_equal(&demo, &platform);
    }
}

#[test]
fn a_node_whose_apply_differs_is_found_at_that_entry_and_repaired() {
    let bug = tempfile::NamedTempFile::new().unwrap();
    let demo = scrubbing(bug.path().to_str().unwrap());
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    fill(&org);
    for case in ["a follower", "the leader"] {
        let leader = demo.leader(&platform);
        let node = if case == "the leader" { leader } else { (leader + 1) % 3 };
        let before = reports(&platform, &org).len();
        fs::write(&bug, format!("apply_differs in {}", demo.store(node).display())).unwrap();
        let body = json!({ "resource": "max_feeds", "amount": 1 });
        let other = org.admin.at(&demo.urls[(node + 1) % 3]);
        await_condition("a write", PATIENCE, || {
            other
                .send("POST", &org.path("/usage"), Some(body.to_string().as_bytes()), &[])
                .is_some_and(|answer| answer.status == 200)
        });
        let mut seen = Vec::new();
        await_condition("the alarm", PATIENCE, || {
            seen = reports(&platform, &org).into_iter().skip(before).collect();
            !seen.is_empty()
        });
        fs::write(&bug, "").unwrap();
        await_condition(&format!("the repair of {case}"), PATIENCE, || {
            seen = reports(&platform, &org).into_iter().skip(before).collect();
            seen.last().is_some_and(|last| last.2) && alarms(&platform) == Some(0)
        });
        assert!(seen.iter().all(|(at, found, _)| *at == node as u64 + 1 && found == "differs"), "{seen:?}");
        await_equal(&demo, &platform);
    }
}

#[test]
fn equal_nodes_raise_no_alarm_through_load_kills_and_restarts() {
    let rounds = if std::env::var_os("TF_TEST_QUICK").is_some() { 2 } else { 6 };
    let demo = scrubbing("");
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    fill(&org);
    let traffic = Traffic::new(&demo, &org, &platform);
    traffic.during(|| {
        for round in 0..rounds {
            let before = traffic.kept.load(Ordering::SeqCst);
            await_condition("writes to go on", PATIENCE, || {
                traffic.kept.load(Ordering::SeqCst) > before + 20
            });
            let leader = demo.leader(&platform);
            match round % 3 {
                0 => demo.kill((leader + 1) % 3),
                1 => (0..3).for_each(|node| demo.kill(node)),
                _ => demo.kill(leader),
            }
            demo.await_all_ready();
        }
    });
    await_equal(&demo, &platform);
    await_condition("every node to say how it is", PATIENCE, || alarms(&platform).is_some());
    assert_eq!(alarms(&platform), Some(0));
    assert_eq!(reports(&platform, &org), []);
    assert_eq!(traffic.refused.load(Ordering::SeqCst), 0);
    for node in 1..=3 {
        let log = fs::read_to_string(demo.folder.path().join(format!("node-{node}.log"))).unwrap();
        assert!(!log.contains("quarantine"), "{log}");
    }
}
