//! Three real processes, killed while they work.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Caller, Demo, Organization, await_condition, create_organization, third_party};

/// Sends a write until it is answered, under one request id, over all nodes in turn. As the README says to.
fn insist(demo: &Demo, caller: &Caller, path: &str, body: &Value) -> (u16, Value) {
    let id = uuid::Uuid::new_v4().to_string();
    let headers = [("x-request-id", id.as_str())];
    let until = Instant::now() + Duration::from_secs(60);
    for turn in 0.. {
        let at = caller.at(&demo.urls[turn % 3]);
        match at.send("POST", path, Some(body.to_string().as_bytes()), &headers) {
            Some(answer) if answer.status != 503 => return (answer.status, answer.json),
            _ => std::thread::sleep(Duration::from_millis(30)),
        }
        assert!(Instant::now() < until, "no answer for a minute");
    }
    unreachable!()
}

fn usage(caller: &Caller, org: &Organization, resource: &str) -> Option<i64> {
    let answer = caller.send("GET", &org.path("/stats"), None, &[("x-consistency", "strong")])?;
    answer.json["usage"][resource].as_i64()
}

#[test]
fn the_main_job_works_at_every_node() {
    let demo = Demo::three_nodes();
    let org = create_organization(&demo.platform(), "acme", "enterprise", None);
    let bundle = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bundle.json")).unwrap();
    for (node, url) in demo.urls.iter().enumerate() {
        let admin = org.admin.at(url);
        let written = admin.post(&org.path("/usage"), &json!({ "resource": "max_cases", "amount": 1 }));
        assert_eq!(written.json["usage"], node + 1, "{}", written.body);
        // Its own write, at the next node, without a word of where it was made.
        let next = org.admin.at(&demo.urls[(node + 1) % 3]);
        assert_eq!(next.get(&org.path("/stats")).json["usage"]["active_cases"], node + 1);
        let imported = admin.send(
            "POST",
            &org.path("/intel/bundles"),
            Some(&bundle),
            &[("content-type", "application/json")],
        );
        assert!([200, 201].contains(&imported.unwrap().status));
        assert_eq!(next.get(&org.path("/intel/export")).status, 200);
        assert_eq!(next.get(&org.path("/audit-events")).status, 200);
    }
}

#[test]
fn a_quota_race_over_three_nodes_ends_exact_though_the_leader_is_killed() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "professional", None);
    let body = json!({ "resource": "max_workflows", "amount": 1 });
    let path = org.path("/usage");
    let leader = demo.leader(&platform);
    let kept = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..12 {
                    let (status, _) = insist(&demo, &platform, &path, &body);
                    assert!(status == 200 || status == 403, "{status}");
                    kept.fetch_add(i64::from(status == 200), Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            await_condition("some writes", Duration::from_secs(20), || kept.load(Ordering::SeqCst) >= 20);
            demo.kill(leader);
        });
    });
    assert_eq!(kept.load(Ordering::SeqCst), 100, "the quota is 100 and 144 were tried");
    let alive = (leader + 1) % 3;
    assert_eq!(usage(&platform.at(&demo.urls[alive]), &org, "active_workflows"), Some(100));
}

#[test]
fn an_import_is_finished_at_another_node_after_the_leader_was_killed_in_its_middle() {
    let Some(bundle) = third_party("stix/attack-ics.json") else { return };
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let leader = demo.leader(&platform);
    let post = |node: usize| {
        let at = org.admin.at(&demo.urls[node]);
        at.send("POST", &org.path("/intel/bundles"), Some(&bundle), &[("content-type", "application/json")])
    };
    let other = (leader + 1) % 3;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| post(leader));
        await_condition("the import to begin", Duration::from_secs(20), || {
            let jobs = org.admin.at(&demo.urls[other]).try_get(&org.path("/intel/imports"));
            jobs.is_some_and(|jobs| jobs.json["data"][0]["seen"].as_i64().is_some_and(|seen| seen > 0))
        });
        demo.kill(leader);
        let _ = first.join();
    });
    let mut done = None;
    await_condition("the import to end elsewhere", Duration::from_secs(60), || {
        done = post(other).filter(|answer| answer.status == 201);
        done.is_some()
    });
    let done = done.unwrap();
    assert_eq!((&done.json["state"], &done.json["seen"]), (&json!("done"), &json!(1826)), "{}", done.body);
    let exported = org.admin.at(&demo.urls[other]).get(&org.path("/intel/export"));
    assert_eq!(exported.json["objects"].as_array().unwrap().len(), 1826);
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_over_many_kills_and_all_nodes_end_equal() {
    let rounds = if std::env::var_os("TF_TEST_QUICK").is_some() { 3 } else { 12 };
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let (path, body) = (org.path("/usage"), json!({ "resource": "max_cases", "amount": 1 }));
    let (kept, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let (status, answer) = insist(&demo, &platform, &path, &body);
                    assert_eq!(status, 200, "{answer}");
                    kept.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..rounds {
            let before = kept.load(Ordering::SeqCst);
            await_condition("writes to go on", Duration::from_secs(60), || {
                kept.load(Ordering::SeqCst) > before + 5
            });
            let leader = demo.leader(&platform);
            match round % 3 {
                0 => demo.kill(leader),
                1 => demo.kill((leader + 1) % 3),
                _ => (0..3).for_each(|node| demo.kill(node)),
            }
            demo.await_all_ready();
        }
        stop.store(true, Ordering::SeqCst);
    });
    demo.await_all_ready();
    let kept = kept.load(Ordering::SeqCst);
    for url in &demo.urls {
        assert_eq!(usage(&platform.at(url), &org, "active_cases"), Some(kept), "at {url}");
    }
    assert_equal_files(&demo, &platform, &org);
}

/// Stops the cluster and compares every file of every node by content: pages carry random nonces, rows do not.
fn assert_equal_files(demo: &Demo, platform: &Caller, org: &Organization) {
    let mut digests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    await_condition("all nodes to hold the same rows", Duration::from_secs(20), || {
        digests.clear();
        for url in &demo.urls {
            let Some(answer) = platform.at(url).try_get("/api/v2/cluster/digests") else { return false };
            for (file, digest) in answer.json["files"].as_object().cloned().unwrap_or_default() {
                digests.entry(file).or_default().push(digest);
            }
        }
        digests.len() == 2
            && digests.values().all(|of| of.len() == 3 && of.iter().all(|digest| *digest == of[0]))
    });
    assert!(digests.contains_key(&org.id));
}
