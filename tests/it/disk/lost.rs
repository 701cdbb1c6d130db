//! A node whose disk is lost comes back as a new one.

use std::fs;

use super::load::count_at;
use super::{
    load::Load,
    nodes::{Node, Trio},
};
use crate::harness::{Caller, Organization, await_condition, create_organization};

#[test]
fn a_node_with_a_lost_disk_is_refused_under_its_old_number_and_joins_under_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let nodes = (1..=3).map(|number| Node::new(root.path(), number)).collect();
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let load = Load::start(trio.urls(), &trio.platform, &org);
    load.await_progress();
    trio.nodes[2].kill();
    // First its log alone: what is left would look like the torn end of a crash, but for the record beside it.
    let segment = trio.nodes[2].data.join("raft/log/0000000000000001.log");
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(5_000).unwrap();
    trio.nodes[2].start(None);
    trio.nodes[2].await_fault(&["the end of the log is missing", "remove it from the cluster", "new id"]);
    load.await_progress();
    // Then the whole disk.
    fs::remove_dir_all(&trio.nodes[2].data).unwrap();
    fs::create_dir_all(&trio.nodes[2].data).unwrap();

    // Without a token it would begin a cluster of its own and answer its clients out of an empty one.
    trio.nodes[2].start(None);
    let (code, line) = trio.nodes[2].await_end();
    assert_eq!(code, 1, "{line}");
    assert!(
        line.contains("no data") && line.contains("--join") && line.contains("cluster remove 3"),
        "{line}"
    );
    // Under its old number it could undo what it had acknowledged.
    let token = trio.done(0, &["token"]);
    trio.nodes[2].start(Some(&token));
    let (code, line) = trio.nodes[2].await_end();
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("node 3 did not join") && line.contains("remove it before"), "{line}");
    load.await_progress();

    await_condition("the lost node to be removed", super::nodes::STOPS_WITHIN, || {
        // An attempt that met another change may have done it all the same.
        trio.cluster(0, &["remove", "3"]).map_or_else(|why| why.contains("is no member"), |_| true)
    });
    let mut fresh = Node::new(root.path(), 4);
    fresh.start(Some(&trio.done(0, &["token"])));
    fresh.await_ready();
    trio.nodes[2] = fresh;
    trio.await_voters(0, &[1, 2, 4]);
    load.await_progress();
    load.end(&trio, &org);
}

/// Two nodes of three whose logs lost their end, unseen by any checkpoint, would be a majority without the writes that
/// they acknowledged: they could elect one of themselves and put other entries in their place.
#[test]
fn two_nodes_whose_logs_lost_their_ends_do_not_elect_each_other() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes: Vec<_> = (1..=3).map(|number| Node::new(root.path(), number)).collect();
    nodes.iter_mut().for_each(|node| node.checkpoint_ms = 600_000);
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let write = |platform: &Caller| {
        let body = r#"{"resource":"max_cases","amount":1}"#;
        platform.send("POST", &org.path("/usage"), Some(body.as_bytes()), &[]).map(|answer| answer.status)
    };
    let before: Vec<_> = (1..3).map(|at| log_of(&trio, at)).collect();
    for _ in 0..20 {
        assert_eq!(write(&trio.platform), Some(200));
    }
    trio.nodes.iter_mut().for_each(Node::kill);
    let whole: Vec<_> = (1..3).map(|at| log_of(&trio, at)).collect();
    (1..3).for_each(|at| put_log(&trio, at, &before[at - 1]));
    trio.nodes[1].start(None);
    trio.nodes[2].start(None);
    for at in 1..3 {
        trio.nodes[at].await_fault(&["the end of the log is missing", "must not vote again", "new id"]);
    }
    trio.nodes[0].start(None);
    let alone = trio.nodes[0].caller();
    await_condition("node 1 to be up", super::nodes::STOPS_WITHIN, || {
        alone.try_get("/livez").is_some_and(|answer| answer.status == 200)
    });
    let refused = write(&trio.platform.at(&trio.nodes[0].url));
    assert!(refused.is_none_or(|status| status >= 500), "a write was taken without a majority: {refused:?}");
    (1..3).for_each(|at| put_log(&trio, at, &whole[at - 1]));
    trio.nodes[1].start(None);
    trio.nodes[2].start(None);
    for at in 0..3 {
        trio.nodes[at].await_ready();
        assert_eq!(count(&trio, at, &org), Some(20), "node {}", at + 1);
    }
}

fn count(trio: &Trio, at: usize, org: &Organization) -> Option<i64> {
    count_at(&trio.nodes[at].url, &trio.platform, org)
}

/// The bytes of a node's only segment.
fn log_of(trio: &Trio, at: usize) -> Vec<u8> {
    fs::read(segment(trio, at)).unwrap()
}

fn put_log(trio: &Trio, at: usize, bytes: &[u8]) {
    fs::write(segment(trio, at), bytes).unwrap();
}

fn segment(trio: &Trio, at: usize) -> std::path::PathBuf {
    trio.nodes[at].data.join("raft/log/0000000000000001.log")
}
