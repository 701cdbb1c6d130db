//! Calls that fail, once and never again: what was written before is then unknown, so the node must stop
//! and not try again, for the next success would prove nothing.

use std::time::Duration;

use super::{
    faults::{EIO, EROFS},
    load::{Load, count_at},
    nodes::{Node, STOPS_WITHIN, Trio},
};
use crate::harness::{await_condition, create_organization};

/// What fails, where, with what, how often, and what the line must say.
struct Case {
    leader: bool,
    call: &'static str,
    part: &'static str,
    error: i32,
    times: u32,
    said: &'static [&'static str],
}

/// Stands for the whole data folder.
const DATA: &str = "";
const LOG: &[&str] = &["raft/log/", "Input/output error"];
const CASES: &[Case] = &[
    // fsyncgate: one failure, and then the disk says yes again.
    Case { leader: true, call: "sync", part: "/raft/log/", error: EIO, times: 1, said: LOG },
    Case { leader: false, call: "sync", part: "/raft/log/", error: EIO, times: 1, said: LOG },
    Case { leader: true, call: "write", part: "/raft/log/", error: EIO, times: 1, said: LOG },
    Case { leader: false, call: "write", part: ".db-wal", error: EIO, times: 1, said: &["tenants/", ".db"] },
    Case {
        leader: true,
        call: "sync",
        part: "/store/tenants/",
        error: EIO,
        times: 1,
        said: &["tenants/", ".db"],
    },
    // The kernel turned the file system read-only after an error of its own.
    Case { leader: false, call: "change", part: DATA, error: EROFS, times: 0, said: &["/node-"] },
    Case { leader: true, call: "change", part: DATA, error: EROFS, times: 0, said: &["/node-"] },
];

#[test]
fn after_the_first_failed_write_or_sync_a_node_answers_nothing_and_a_majority_goes_on() {
    let quick = std::env::var_os("TF_TEST_QUICK").is_some();
    let root = tempfile::tempdir().unwrap();
    let nodes = (1..=3).map(|number| Node::with_faults(root.path(), number)).collect();
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let load = Load::start(trio.urls(), &trio.platform, &org);
    for case in CASES.iter().take(if quick { 2 } else { CASES.len() }) {
        load.await_progress();
        let leader = trio.leader();
        let ill = &mut trio.nodes[if case.leader { leader } else { (leader + 1) % 3 }];
        let data = format!("{}/", ill.data.display());
        let part = if case.part == DATA { data.as_str() } else { case.part };
        ill.faults().fail(case.call, part, case.error, 3, case.times);
        ill.await_fault(case.said);
        assert!(ill.faults().struck() >= 1);
        load.await_progress();
        ill.faults().clear();
        ill.start(None);
        ill.await_ready();
    }
    load.await_progress();
    load.end(&trio, &org);
}

/// Its stderr may lie on the disk that failed.
#[test]
fn a_node_that_cannot_say_why_it_stops_stops_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::with_faults(root.path(), 1);
    node.start(None);
    node.await_ready();
    let password = std::fs::read_to_string(node.data.join("initial-admin-password")).unwrap();
    let platform = node.caller().log_in("admin@localhost", password.trim(), "system");
    node.stop();
    node.mute();
    node.start(None);
    node.await_ready();
    node.faults().fail("sync", "/raft/log/", EIO, 0, 1);
    await_condition("the node to stop", STOPS_WITHIN, || {
        let _ = platform.send("POST", "/api/v2/cluster/join-tokens", Some(b"{}"), &[]);
        !node.running()
    });
    assert_eq!(node.exit_code(), Some(70));
}

#[test]
fn a_slow_disk_slows_a_node_and_breaks_nothing() {
    let root = tempfile::tempdir().unwrap();
    let nodes = (1..=3).map(|number| Node::with_faults(root.path(), number)).collect();
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let load = Load::start(trio.urls(), &trio.platform, &org);
    let leader = trio.leader();
    for slow in [(leader + 1) % 3, leader] {
        let faults = trio.nodes[slow].faults();
        faults.delay("sync", "/raft/log/", Duration::from_millis(300));
        faults.await_struck(5);
        load.await_progress();
        trio.nodes[slow].faults().clear();
    }
    let kept = load.stop();
    trio.await_voters(0, &[1, 2, 3]);
    for node in &mut trio.nodes {
        assert!(node.running());
        assert_eq!(count_at(&node.url, &trio.platform, &org), Some(kept), "node {}", node.number);
    }
    trio.assert_equal_files(0);
}
