//! Nodes that come and go, as an operator does it: with the command line, on real processes.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{BINARY, Caller, Demo, await_condition, create_organization, free_port};

/// A node beside those of the demo.
struct Extra {
    folder: tempfile::TempDir,
    url: String,
    child: Child,
}

impl Extra {
    fn join(number: u64, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listen, peer) = (free_port(), free_port());
        let child = serve(folder.path(), number, listen, peer, token);
        Self { folder, url: format!("http://127.0.0.1:{listen}"), child }
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!(
                "{}",
                std::fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default()
            );
        }
    }
}

fn serve(folder: &Path, number: u64, listen: u16, peer: u16, token: &str) -> Child {
    let stderr = std::fs::File::create(folder.join("stderr.log")).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--data-dir").arg(folder).args(["--node-id", &number.to_string()]);
    command.args(["--listen", &format!("127.0.0.1:{listen}"), "--peer-listen", &format!("127.0.0.1:{peer}")]);
    command.args(["--join", token]).env("THREATFLOW_ZONE", "spare").env("THREATFLOW_STABILIZATION_MS", "500");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// `threatflow cluster …` at one node.
fn cluster(demo: &Demo, at: usize, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("cluster").args(words).args(["--server", &demo.urls[at]]);
    command.arg("--password-file").arg(&demo.password_file);
    command.output().unwrap()
}

fn done(demo: &Demo, at: usize, words: &[&str]) -> String {
    let output = cluster(demo, at, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cluster {words:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn voters(caller: &Caller) -> Vec<u64> {
    let Some(answer) = caller.try_get("/api/v2/cluster") else { return Vec::new() };
    let members = answer.json["members"].as_array().cloned().unwrap_or_default();
    members
        .iter()
        .filter(|member| member["voter"] == true)
        .filter_map(|member| member["node"].as_u64())
        .collect()
}

#[test]
fn a_dead_node_is_replaced_and_its_number_is_gone() {
    let demo = Demo::start(&["--no-respawn"]);
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let leader = demo.leader(&platform);
    let (dead, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let number = (dead + 1).to_string();
    demo.kill(dead);
    // Taking away another one would leave one of two.
    let refused = cluster(&demo, asked, &["remove", &(asked + 1).to_string()]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("fewer than a majority"), "{why}");
    await_condition("the dead node may go", Duration::from_secs(20), || {
        cluster(&demo, asked, &["remove", &number]).status.success()
    });
    let here = platform.at(&demo.urls[asked]);
    assert_eq!(voters(&here).len(), 2);

    // Its number is refused, and the token is as good as before.
    let token = done(&demo, asked, &["token"]);
    let mut late = Extra::join(number.parse().unwrap(), &token);
    assert_eq!(late.child.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(late.folder.path().join("stderr.log")).unwrap();
    assert!(said.contains("never given again"), "{said}");
    let fourth = Extra::join(4, &token);
    await_condition("the new node votes", Duration::from_secs(30), || voters(&here).contains(&4));
    let there = org.admin.at(&fourth.url);
    await_condition("the new node answers", Duration::from_secs(20), || {
        there.try_get(&org.path("/stats")).is_some_and(|answer| answer.status == 200)
    });
    let written = there.post(&org.path("/usage"), &json!({ "resource": "max_cases", "amount": 1 }));
    assert_eq!(written.json["usage"], 1, "{}", written.body);

    assert!(done(&demo, asked, &["status"]).contains("spare"));
    assert_eq!(done(&demo, asked, &["verify"]), "2 files are equal on 3 nodes");
    let trail = here.get("/api/v2/organizations/system/audit-events?action=membership.request_change");
    let events: Vec<&Value> =
        trail.json["data"].as_array().unwrap().iter().map(|row| &row["event"]).collect();
    assert_eq!(events.len(), 1, "{}", trail.body);
    assert_eq!(events[0]["resource"]["id"], json!(number));
}

#[test]
fn leadership_votes_and_snapshots_are_an_operators_to_give() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let leader = demo.leader(&platform);
    let (heir, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let numbers: Vec<String> = (1..=3).map(|number: usize| number.to_string()).collect();
    done(&demo, asked, &["transfer", &numbers[heir]]);
    assert_eq!(demo.leader(&platform), heir);

    done(&demo, asked, &["demote", &numbers[leader]]);
    let here = platform.at(&demo.urls[asked]);
    assert_eq!(voters(&here).len(), 2);
    assert!(done(&demo, asked, &["status"]).contains("standby"));
    // A learner serves, and forwards writes, all the same.
    let learner = org.admin.at(&demo.urls[leader]);
    let written = learner.post(&org.path("/usage"), &json!({ "resource": "max_cases", "amount": 1 }));
    assert_eq!(written.json["usage"], 1, "{}", written.body);
    done(&demo, asked, &["promote", &numbers[leader]]);
    await_condition("it votes again", Duration::from_secs(10), || voters(&here).len() == 3);

    assert!(done(&demo, asked, &["snapshot"]).starts_with("durable up to entry "));
    assert_eq!(done(&demo, asked, &["verify"]), "2 files are equal on 3 nodes");
    let nobody = cluster(&demo, asked, &["promote", "77"]);
    assert!(!nobody.status.success());
    // A tenant's administrator is not told that there is a cluster.
    let stranger = org.admin.at(&demo.urls[asked]);
    for path in ["promote", "demote", "transfer"] {
        assert_eq!(stranger.post(&format!("/api/v2/cluster/nodes/1/{path}"), &json!({})).status, 404);
    }
    assert_eq!(stranger.post("/api/v2/cluster/snapshot", &json!({})).status, 404);
}

/// A login writes, so it needs a quorum; what a node knows by itself does not.
#[test]
fn a_node_that_is_alone_tells_its_status_without_a_login() {
    let demo = Demo::start(&["--no-respawn"]);
    create_organization(&demo.platform(), "acme", "enterprise", None);
    let told = || {
        let mut command = Command::new(BINARY);
        command.args(["cluster", "status", "--local", "--server", &demo.urls[2]]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(told().contains("asked node 3: term "), "{}", told());
    demo.kill(0);
    demo.kill(1);
    let silent_for =
        || demo.caller(2).get("/readyz?verbose").json["staleness_ms"].as_u64().unwrap_or(u64::MAX);
    await_condition("node 3 to miss its leader", Duration::from_secs(30), || silent_for() >= 2_000);
    let unready = || demo.caller(2).get("/readyz").status == 503;
    await_condition("node 3 to be unready without a leader", Duration::from_secs(30), unready);
    let shown = told();
    assert!(shown.contains(", heard of ") && !shown.contains(" ms ago"), "{shown}");
    let row = shown.lines().find(|line| line.starts_with("3 ")).unwrap();
    assert!(row.contains(&demo.urls[2]) && row.contains(env!("CARGO_PKG_VERSION")), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.contains("voter")).count(), 3, "{shown}");
}
