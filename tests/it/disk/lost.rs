//! A node whose disk is lost comes back as a new one.

use std::fs;

use super::{
    load::Load,
    nodes::{Node, Trio},
};
use crate::harness::{await_condition, create_organization};

#[test]
fn a_node_with_a_lost_disk_is_refused_under_its_old_number_and_joins_under_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let nodes = (1..=3).map(|number| Node::new(root.path(), number)).collect();
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let load = Load::start(trio.urls(), &trio.platform, &org);
    load.await_progress();
    // Its files are durable up to here, so that the loss can be told.
    trio.done(2, &["snapshot"]);
    trio.nodes[2].kill();
    // First its log alone: what is left would look like the torn end of a crash, but for the checkpoint.
    let segment = trio.nodes[2].data.join("raft/log/0000000000000001.log");
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(5_000).unwrap();
    trio.nodes[2].start(None);
    trio.nodes[2].await_fault(&["the log ends at entry", "remove this node from the cluster", "new number"]);
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
        trio.cluster(0, &["remove", "3"]).is_ok()
    });
    let mut fresh = Node::new(root.path(), 4);
    fresh.start(Some(&trio.done(0, &["token"])));
    fresh.await_ready();
    trio.nodes[2] = fresh;
    trio.await_voters(0, &[1, 2, 4]);
    load.await_progress();
    load.end(&trio, &org);
}
