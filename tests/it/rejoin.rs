//! A node that was away comes back: it is sent what changed, and not what it has.

use std::{fs, path::Path, time::Duration};

use serde_json::json;

use crate::harness::{BINARY, Caller, Nodes, await_condition};

const ORGANIZATIONS: usize = 200;
const CHANGED: usize = 20;
/// What the list of all files may take: a name, a mark and a few lengths of each.
const LIST_BYTES_PER_FILE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(90);

/// The value of a metric at a node, all its labels as they are written there.
fn metric(there: &Caller, name: &str) -> u64 {
    let page = there.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in: {page}")).parse::<f64>().unwrap() as u64
}

/// Organizations without administrators, and each with something in it.
fn organizations(platform: &Caller) -> Vec<String> {
    let made = |number: usize| {
        let body = json!({
            "name": format!("org-{number}"), "slug": format!("org-{number}"), "domain": format!("org-{number}.test"),
            "plan": "enterprise", "billing_email": "bills@example.test",
            "contact_info": { "primary_contact": "Ann", "email": "ann@example.test" },
        });
        let created = platform.post("/api/v2/organizations", &body);
        assert_eq!(created.status, 201, "{}", created.body);
        created.json["id"].as_str().unwrap().to_owned()
    };
    (0..ORGANIZATIONS).map(made).collect()
}

fn write(platform: &Caller, organization: &str) {
    let path = format!("/api/v2/organizations/{organization}/usage");
    let answer = platform.post(&path, &json!({ "resource": "max_cases", "amount": 1 }));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Where a node stands in the log.
fn stands(there: &Caller, of: &str) -> u64 {
    metric(there, &format!("threatflow_raft_index{{of=\"{of}\"}}"))
}

#[test]
fn a_node_that_returns_after_the_log_was_cut_receives_no_more_than_what_changed() {
    let settings = [("THREATFLOW_LOG_KEEP_ENTRIES", "0"), ("THREATFLOW_CHECKPOINT_MS", "300")];
    let nodes = Nodes::three_with(Path::new(BINARY), &settings);
    let platform = nodes.platform();
    let organizations = organizations(&platform);
    let away = (nodes.leader() + 1) % 3;
    let (stays, there) = (platform.at(&nodes.urls[(away + 1) % 3]), platform.at(&nodes.urls[away]));
    let before = stands(&stays, "applied");
    await_condition("the node to have everything", PATIENCE, || stands(&there, "applied") >= before);
    nodes.terminate(away);
    assert!(nodes.ended(away).success());

    for organization in &organizations[..CHANGED] {
        write(&stays, organization);
    }
    let (wanted, leads) = (stands(&stays, "applied"), platform.at(&nodes.urls[nodes.leader()]));
    await_condition("the log to be cut", PATIENCE, || stands(&leads, "purged") >= wanted);
    nodes.start(away, Path::new(BINARY));
    await_condition("the node to have caught up", PATIENCE, || stands(&there, "applied") >= wanted);

    assert!(metric(&there, "threatflow_snapshots_total{direction=\"installed\"}") >= 1, "it came by the log");
    let received = metric(&there, "threatflow_snapshot_bytes_total{direction=\"received\"}");
    let size = |organization: &str| fs::metadata(nodes.file(nodes.leader(), organization)).unwrap().len();
    let changed: u64 = organizations[..CHANGED].iter().map(|id| size(id)).sum();
    let all: u64 = organizations.iter().map(|id| size(id)).sum();
    let system = size("system");
    println!("received {received} bytes; changed {changed}, and system.db {system}; all organizations {all}");
    assert!(received >= changed, "received {received} bytes, but {changed} changed");
    let list = (LIST_BYTES_PER_FILE * (ORGANIZATIONS + 1)) as u64;
    let most = (changed + system) * 12 / 10 + list;
    assert!(
        received <= most,
        "received {received} bytes, of {changed} that changed, {system} of the system and the list"
    );
    for organization in [&organizations[0], &organizations[CHANGED], &organizations[ORGANIZATIONS - 1]] {
        write(&there, organization);
    }
}
