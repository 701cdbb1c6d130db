//! Keys: what lies on disk shows nothing, what is erased opens for nobody, and cluster keys rotate under load.

mod authority;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use threatflow::{
    kernel::{OrgId, from_hex},
    store::{Keyring, WrappedKey},
};

use crate::harness::{
    BINARY, Caller, Demo, Organization, World, await_condition, create_organization, free_port,
};

/// Stands in a name, an address, an indicator, and so in entries, files, copies and remembered replies.
const MARKER: &str = "mk7f3aq9";

/// Where a marker lies in a folder, in capitals or not.
fn traces(folder: &Path, marker: &str) -> Vec<String> {
    places(folder, |bytes| holds(&bytes.to_ascii_lowercase(), marker.as_bytes()))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Without the zeros that a preallocated file ends in: to look through those takes a minute.
fn written(bytes: &[u8]) -> &[u8] {
    const BLOCK: usize = 4096;
    let last = bytes.chunks(BLOCK).rposition(|block| block != &[0; BLOCK][..block.len()]);
    &bytes[..bytes.len().min(last.map_or(0, |last| (last + 2) * BLOCK))]
}

/// The files in a folder whose content is so.
fn places(folder: &Path, so: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for item in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = item.path();
            if path.is_dir() {
                waiting.push(path);
            // Segments come and go, and the process's own log is not data.
            } else if fs::read(&path).is_ok_and(|bytes| so(written(&bytes))) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Fills an organization with what must not be seen.
fn fill(org: &Organization) {
    let known = json!({ "email": format!("{MARKER}@{}.test", org.slug), "role": "analyst" });
    assert_eq!(org.admin.post(&org.path("/users"), &known).status, 201);
    let (email, password) = (format!("ann@{}.test", org.slug), format!("{MARKER} horse battery"));
    let keeper = json!({ "email": email, "password": password, "role": "analyst" });
    assert_eq!(org.admin.post(&org.path("/users"), &keeper).status, 201);
    let bundle = json!({ "type": "bundle", "id": "bundle--5d0092c5-5f74-4287-9642-33f4c354e56d", "objects": [{
        "type": "identity", "spec_version": "2.1", "id": "identity--f431f809-377b-45e0-aa1c-6a4751cae5ff",
        "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "name": MARKER }] });
    let sent = org.admin.post(&org.path("/intel/bundles"), &bundle);
    assert!([200, 201].contains(&sent.status), "{}", sent.body);
    let patched =
        org.admin.send("PATCH", &org.path(""), Some(json!({ "name": MARKER }).to_string().as_bytes()), &[]);
    assert_eq!(patched.unwrap().status, 200);
}

#[test]
fn nothing_in_the_data_folder_shows_what_organizations_store() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    fill(&org);
    assert_eq!(world.platform().post("/api/v2/cluster/snapshot", &json!({})).status, 200);
    fill_again(&org);
    assert_eq!(traces(world.folder.path(), MARKER), Vec::<String>::new());
    // The scan sees what is there to be seen.
    fs::write(world.folder.path().join("seen"), format!("x{}y", MARKER.to_uppercase())).unwrap();
    assert_eq!(traces(world.folder.path(), MARKER).len(), 1);
}

/// Entries that no checkpoint has covered yet.
fn fill_again(org: &Organization) {
    let body = json!({ "name": format!("{MARKER} again") }).to_string();
    assert_eq!(org.admin.send("PATCH", &org.path(""), Some(body.as_bytes()), &[]).unwrap().status, 200);
}

fn keys(platform: &Caller) -> Value {
    platform.get("/api/v2/cluster/keys").json
}

fn await_settled(platform: &Caller, generation: u64) {
    let mut last = Value::Null;
    await_condition("the rotation to settle", Duration::from_secs(90), || {
        let keys = keys(platform);
        if keys != last {
            println!("{keys}");
            last = keys.clone();
        }
        let held =
            |member: &Value| member["keys"]["held"].as_object().map(|held| held.keys().cloned().collect());
        let members = keys["members"].as_array().cloned().unwrap_or_default();
        keys["step"] == "settled"
            && keys["generation"] == generation
            && members.len() == 3
            && members.iter().all(|member| held(member) == Some(vec![generation.to_string()]))
    });
}

fn keyring(demo: &Demo, node: u64) -> Keyring {
    keyring_in(&demo.folder.path().join(format!("node-{node}")))
}

/// The keyring of a node whose keyring lies open.
fn keyring_in(data: &Path) -> Keyring {
    let text = fs::read(data.join("cluster.key")).unwrap();
    let contents: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(contents["seal"], "data_dir");
    Keyring::from_bundle(&from_hex(contents["keyring"].as_str().unwrap()).unwrap()).unwrap()
}

fn wrapped(demo: &Demo, node: u64, org: &Organization) -> Option<WrappedKey> {
    let path = demo.folder.path().join(format!("node-{node}/store/tenants/{}.key", org.id));
    let text = fs::read_to_string(path).ok()?;
    Some(WrappedKey(text.lines().next()?.split(' ').nth(3)?.to_owned()))
}

#[test]
fn an_erased_organization_opens_for_nobody_and_its_neighbour_goes_on() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let doomed = create_organization(&platform, "acme", "enterprise", None);
    let other = create_organization(&platform, "beta", "enterprise", None);
    fill(&doomed);
    let id: OrgId = doomed.id.parse().unwrap();
    // What a backup from before holds, and a keyring of that time: it opens.
    await_condition("every node to hold the file", Duration::from_secs(20), || {
        (1..=3).all(|node| wrapped(&demo, node, &doomed).is_some())
    });
    let before = wrapped(&demo, 2, &doomed).unwrap();
    assert!(keyring(&demo, 2).unwrap_key(id, &before).is_ok());

    let erase = |slug: &str| platform.post(&doomed.path("/erase"), &json!({ "slug": slug }));
    assert_eq!(erase("beta").status, 422, "the slug must be its own");
    assert_eq!(doomed.admin.post(&doomed.path("/erase"), &json!({ "slug": "acme" })).status, 403);
    let erased = erase("acme");
    assert_eq!(erased.status, 200, "{}", erased.body);

    await_settled(&platform, 2);
    for node in 1..=3 {
        let folder = demo.folder.path().join(format!("node-{node}/store/tenants"));
        let left = |suffix: &str| folder.join(format!("{}.{suffix}", doomed.id)).exists();
        assert!(!left("db") && !left("db-wal") && !left("key") && left("gone"), "node {node}");
        let refused = keyring(&demo, node).unwrap_key(id, &before).unwrap_err().to_string();
        assert!(refused.contains("cluster key 1, which is not held here"), "{refused}");
        assert_eq!(
            traces(&demo.folder.path().join(format!("node-{node}/raft")), MARKER),
            Vec::<String>::new()
        );
    }
    assert!([401, 404].contains(&doomed.admin.get(&doomed.path("")).status));
    assert_eq!(platform.get(&doomed.path("")).status, 404);
    assert_eq!(other.admin.get(&other.path("")).status, 200);
    // Its names are free, and nothing of it comes back.
    let again = create_organization(&platform, "acme", "free", None);
    assert_ne!(again.id, doomed.id);
}

#[test]
fn the_cluster_key_rotates_while_writes_go_on_and_a_node_was_away() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let old = wrapped(&demo, 1, &org).unwrap();
    let (stop, kept) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = json!({ "resource": "max_cases", "amount": 1 });
            // Bounded, so that a failure of the other thread ends the test.
            let until = Instant::now() + Duration::from_secs(120);
            while !stop.load(Ordering::SeqCst) && Instant::now() < until {
                let written = org.admin.post(&org.path("/usage"), &body);
                // A node that was killed may have been the leader.
                assert!([200, 503].contains(&written.status), "{}", written.body);
                kept.fetch_add(i64::from(written.status == 200), Ordering::SeqCst);
            }
        });
        demo.kill(2);
        assert_eq!(platform.post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
        let refused = platform.post("/api/v2/cluster/keys/rotate", &json!({}));
        assert_eq!((refused.status, &refused.json["code"]), (409, &json!("wrong_state")), "{}", refused.body);
        await_settled(&platform, 2);
        stop.store(true, Ordering::SeqCst);
    });
    let kept = kept.load(Ordering::SeqCst);
    assert!(kept > 0);
    demo.await_all_ready();
    for node in 0..3 {
        let at = platform.at(&demo.urls[node]);
        let stats = at.send("GET", &org.path("/stats"), None, &[("x-consistency", "strong")]).unwrap();
        assert!(stats.json["usage"]["active_cases"].as_i64().unwrap() >= kept, "{}", stats.body);
        let new = wrapped(&demo, node as u64 + 1, &org).unwrap();
        assert_eq!((old.generation(), new.generation()), (Some(1), Some(2)));
    }
    // Everything that was sealed before still works: logins are signed with a secret that was sealed anew.
    create_organization(&platform, "beta", "free", None);
}

/// Starts a second process on a copy of a node's data; what it says before it ends.
fn started_on(data: &Path, seal: &str) -> (Option<i32>, String) {
    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let ended = Command::new(BINARY)
        .args(["serve", "--seal", seal, "--listen", &ports[0], "--peer-listen", &ports[1], "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_data_key_rotates_under_load_and_every_node_encrypts_its_file_anew() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    fill(&org);
    let text = |node: usize| {
        let path = demo.folder.path().join(format!("node-{node}/store/tenants/{}.key", org.id));
        fs::read_to_string(path).unwrap()
    };
    let body = json!({ "resource": "max_cases", "amount": 1 });
    std::thread::scope(|scope| {
        for node in 0..3 {
            let (at, path, body) = (org.admin.at(&demo.urls[node]), org.path("/usage"), &body);
            scope.spawn(move || {
                for _ in 0..60 {
                    let written = at.post(&path, body);
                    assert_eq!(written.status, 200, "{}", written.body);
                }
            });
        }
        let rotated = platform.post(&org.path("/keys/rotate"), &json!({}));
        assert_eq!((rotated.status, &rotated.json["data_key"]), (200, &json!(2)), "{}", rotated.body);
    });
    await_condition("every node to have encrypted it anew", Duration::from_secs(30), || {
        (1..=3).all(|node| text(node).lines().eq(text(node).lines().filter(|line| line.contains(" 2"))))
    });
    for node in 1..=3 {
        assert!(text(node).starts_with("key 2 ") && text(node).ends_with("file 2\n"), "{}", text(node));
    }
    // A node that is killed in the middle of the next one comes back whole.
    assert_eq!(platform.post(&org.path("/keys/rotate"), &json!({})).json["data_key"], 3);
    demo.kill(2);
    demo.await_all_ready();
    await_condition("the killed node to have it too", Duration::from_secs(30), || {
        text(3).ends_with("file 3\n")
    });
    for url in &demo.urls {
        let stats = org.admin.at(url).send("GET", &org.path("/stats"), None, &[("x-consistency", "strong")]);
        assert_eq!(stats.unwrap().json["usage"]["active_cases"], 180);
    }
    let system = platform.post("/api/v2/organizations/system/keys/rotate", &json!({}));
    assert_eq!(system.status, 200, "the system file has a data key like any other: {}", system.body);
}

#[test]
fn a_copy_of_a_sealed_node_s_data_folder_opens_nothing() {
    let place = tempfile::tempdir().unwrap();
    let key = |name: &str, byte: u8| {
        let path = place.path().join(name);
        threatflow::store::write_secret(&path, &[byte; 40]).unwrap();
        format!("file:{}", path.display())
    };
    let (right, wrong) = (key("right", b'a'), key("wrong", b'b'));
    let mut world = World::one_node_with(&["--seal", &right]);
    let org = world.organization("acme", "free");
    world.crash_and_restart();
    assert_eq!(org.admin.get(&org.path("")).status, 200, "it opens again with its seal");
    let status = world.platform().get("/api/v2/cluster").json;
    assert_eq!(status["members"][0]["about"]["seal"], "file");
    let mut doctor = Command::new(BINARY);
    doctor.args(["doctor", "--data-dir"]).arg(world.folder.path()).env("THREATFLOW_SEAL", &right);
    let looked = doctor.output().unwrap();
    assert!(looked.status.success() && String::from_utf8_lossy(&looked.stderr).contains("sealed, and file:"));

    let copy = place.path().join("copy");
    let copied = Command::new("cp").arg("-r").arg(world.folder.path()).arg(&copy).status().unwrap();
    assert!(copied.success());
    for (seal, why) in [("data_dir", "sealed by a file"), (wrong.as_str(), "does not open")] {
        let (code, said) = started_on(&copy, seal);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why) && said.trim().lines().count() == 1, "{said}");
    }
}
