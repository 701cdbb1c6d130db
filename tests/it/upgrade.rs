//! Planned stops, and two builds of the binary in one cluster.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    BINARY, Caller, Nodes, Organization, Writers, await_condition, code, create_organization, free_port,
};

/// The other build: it knows one level more. `./check` makes it and says where it is.
fn next_build() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("TF_TEST_NEXT") {
        return Some(PathBuf::from(path));
    }
    assert!(std::env::var_os("CI").is_none(), "TF_TEST_NEXT names no second build");
    println!(
        "LEFT OUT: TF_TEST_NEXT names no second build, so the rolling upgrade is not proven; see ./check"
    );
    None
}

fn level(nodes: &Nodes, at: usize, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("level").args(words).args(["--server", &nodes.urls[at]]);
    command.arg("--password-file").arg(nodes.password_file()).output().unwrap()
}

fn usage(caller: &Caller, org: &Organization) -> i64 {
    let answer = caller.send("GET", &org.path("/stats"), None, &[("x-consistency", "strong")]).unwrap();
    answer.json["usage"]["active_cases"].as_i64().unwrap()
}

/// Stops a node in an orderly way while others write, and starts it again with `binary`.
fn replace(nodes: &Nodes, writers: &Writers<'_>, node: usize, binary: &Path) {
    go_on(writers);
    nodes.terminate(node);
    assert!(nodes.ended(node).success(), "node {} did not stop cleanly", node + 1);
    go_on(writers);
    nodes.start(node, binary);
    go_on(writers);
}

fn go_on(writers: &Writers<'_>) {
    let before = writers.kept();
    await_condition("writes to go on", Duration::from_secs(60), || writers.kept() > before + 20);
}

#[test]
fn a_planned_stop_of_the_leader_fails_no_request() {
    let rounds = if std::env::var_os("TF_TEST_QUICK").is_some() { 2 } else { 5 };
    let nodes = Nodes::three(Path::new(BINARY));
    let org = create_organization(&nodes.platform(), "acme", "enterprise", None);
    let writers = Writers::new(&nodes, &org);
    let mut pauses = Vec::new();
    std::thread::scope(|scope| {
        for home in [0, 0, 1, 1, 2, 2] {
            scope.spawn({
                let writers = &writers;
                move || writers.write(home)
            });
        }
        for _ in 0..rounds {
            let leader = nodes.leader();
            go_on(&writers);
            let asked = Instant::now();
            nodes.terminate(leader);
            assert!(nodes.ended(leader).success());
            go_on(&writers);
            pauses.push(writers.longest_pause(asked));
            nodes.start(leader, Path::new(BINARY));
        }
        writers.end();
    });
    assert_eq!(writers.failed(), Vec::<String>::new());
    assert_eq!(usage(&nodes.platform(), &org), writers.kept());
    println!("longest pauses between acknowledged writes: {pauses:?}");
    // What it is on a quiet machine is a figure of the benches; here nobody may wait for an election.
    assert!(pauses.iter().all(|pause| *pause < Duration::from_secs(2)), "{pauses:?}");
}

#[test]
fn a_cluster_is_upgraded_node_by_node_under_load_and_back_before_the_level_is_raised() {
    let Some(next) = next_build() else { return };
    let (old, next) = (Path::new(BINARY), next.as_path());
    let nodes = Nodes::three(old);
    let platform = nodes.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let cold = create_organization(&platform, "cold", "enterprise", None);
    // A tenant's administrator is not told that there is a level.
    assert_eq!(cold.admin.get("/api/v2/cluster/level").status, 404);
    assert_eq!(cold.admin.post("/api/v2/cluster/level", &json!({ "level": 2 })).status, 404);
    let writers = Writers::new(&nodes, &org);
    std::thread::scope(|scope| {
        for home in 0..3 {
            scope.spawn({
                let writers = &writers;
                move || writers.write(home)
            });
        }
        replace(&nodes, &writers, 0, next);
        replace(&nodes, &writers, 1, next);
        refused_while_a_node_cannot(&nodes, &platform);
        // One goes back, and works, and comes again.
        replace(&nodes, &writers, 1, old);
        replace(&nodes, &writers, 1, next);
        replace(&nodes, &writers, 2, next);
        refused_below_the_level(&nodes, &platform);
        let raised = level(&nodes, 1, &["raise"]);
        assert!(raised.status.success(), "{}", String::from_utf8_lossy(&raised.stderr));
        go_on(&writers);
        works_at_every_node(&nodes, &platform);
        go_on(&writers);
        writers.end();
    });
    assert_eq!(writers.failed(), Vec::<String>::new());
    for url in &nodes.urls {
        assert_eq!(usage(&platform.at(url), &org), writers.kept(), "at {url}");
        assert_eq!(usage(&platform.at(url), &cold), 0);
    }
    await_condition("every file to be raised, cold ones too", Duration::from_secs(30), || {
        let status = platform.get("/api/v2/cluster/level").json;
        let nodes = status["nodes"].as_array().unwrap().clone();
        status["level"] == 2 && nodes.iter().all(|node| node["files_below"] == 0)
    });
    on_the_trail(&platform);
    an_old_binary_does_not_start(&nodes, old);
    an_old_binary_does_not_join(&platform, old);
}

fn refused_while_a_node_cannot(nodes: &Nodes, platform: &Caller) {
    let status = platform.get("/api/v2/cluster/level").json;
    assert_eq!((&status["level"], &status["level_max"]), (&json!(1), &json!(1)), "{status}");
    for at in [0, 2] {
        let refused = platform.at(&nodes.urls[at]).post("/api/v2/cluster/level", &json!({ "level": 2 }));
        assert_eq!((refused.status, code(&refused)), (409, "level_refused"), "{}", refused.body);
        assert_eq!(refused.json["nodes"], json!([3]));
        let detail = refused.json["detail"].as_str().unwrap();
        assert!(detail.contains("node 3 runs version") && detail.contains("upgrade it"), "{detail}");
    }
    let refused = level(nodes, 0, &["raise", "--to", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("node 3 runs version"));
    // Without a number: to what every node can, which is in force.
    assert!(level(nodes, 0, &["raise"]).status.success());
    // A node that is not there does not say what it can.
    nodes.terminate(2);
    nodes.ended(2);
    let refused = platform.post("/api/v2/cluster/level", &json!({ "level": 2 }));
    let detail = refused.json["detail"].as_str().unwrap();
    assert!(refused.status == 409 && detail.contains("threatflow cluster remove 3"), "{detail}");
    nodes.start(2, Path::new(BINARY));
}

fn refused_below_the_level(nodes: &Nodes, platform: &Caller) {
    for url in &nodes.urls {
        let refused = platform.at(url).post("/api/v2/cluster/rehearsal", &json!({}));
        assert_eq!((refused.status, code(&refused)), (409, "level_too_low"), "{}", refused.body);
        assert!(refused.body.contains("threatflow level raise"), "{}", refused.body);
    }
}

fn works_at_every_node(nodes: &Nodes, platform: &Caller) {
    for (done, url) in (1..).zip(&nodes.urls) {
        let mut answer = None;
        // A node may hear of the level a moment after the one that was asked.
        await_condition("a node to know the new level", Duration::from_secs(10), || {
            let asked = platform.at(url).post("/api/v2/cluster/rehearsal", &json!({}));
            let known = asked.status != 409;
            answer = Some(asked);
            known
        });
        let answer = answer.unwrap();
        assert_eq!((answer.status, &answer.json["count"]), (200, &json!(done)), "{}", answer.body);
    }
    let below = platform.post("/api/v2/cluster/level", &json!({ "level": 1 }));
    assert_eq!((below.status, code(&below)), (409, "level_refused"), "{}", below.body);
}

fn on_the_trail(platform: &Caller) {
    let trail = platform.get("/api/v2/organizations/system/audit-events?action=membership.raise_level");
    let events: Vec<Value> = trail.json["data"].as_array().unwrap().clone();
    assert_eq!(events.len(), 1, "{}", trail.body);
    let changes = &events[0]["event"]["changes"];
    assert_eq!((&changes["before"], &changes["after"]), (&json!(1), &json!(2)), "{changes}");
}

fn an_old_binary_does_not_start(nodes: &Nodes, old: &Path) {
    nodes.terminate(2);
    assert!(nodes.ended(2).success());
    let before = nodes.said(2).len();
    nodes.spawn(2, old, None);
    assert_eq!(nodes.ended(2).code(), Some(1));
    let said = nodes.said(2).split_off(before);
    assert!(said.contains("level 2 is in force") && said.contains("-next or newer"), "{said}");
    assert!(!said.contains("serves"), "{said}");
}

fn an_old_binary_does_not_join(platform: &Caller, old: &Path) {
    let token = platform.post("/api/v2/cluster/join-tokens", &json!({})).json["token"].clone();
    let folder = tempfile::tempdir().unwrap();
    let address = || format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(old);
    command.args(["serve", "--node-id", "4", "--listen", &address(), "--peer-listen", &address()]);
    command.args(["--join", token.as_str().unwrap()]).arg("--data-dir").arg(folder.path());
    let refused = command.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("it needs version") && said.contains("-next or newer"), "{said}");
}
