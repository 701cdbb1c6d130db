//! A full disk, and one that may not be written.

use super::{
    load::{Load, count_at},
    mounts::Tmpfs,
    nodes::{Node, Trio},
};
use crate::harness::create_organization;

/// Two log segments of 64 MiB and some files.
const MEBIBYTES: u32 = 200;

#[test]
fn a_node_whose_disk_is_full_stops_and_goes_on_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let nodes: Vec<Node> = (1..=3).map(|number| Node::new(root.path(), number)).collect();
    let disks: Option<Vec<Tmpfs>> = nodes.iter().map(|node| Tmpfs::mount(&node.data, MEBIBYTES)).collect();
    let Some(mut disks) = disks else { return };
    let mut trio = Trio::start(nodes, root.path());
    let org = create_organization(&trio.platform, "acme", "enterprise", None);
    let load = Load::start(trio.urls(), &trio.platform, &org);
    for follower in [true, false] {
        load.await_progress();
        let leader = trio.leader();
        let ill = if follower { (leader + 1) % 3 } else { leader };
        disks[ill].fill();
        let data = trio.nodes[ill].data.display().to_string();
        let line = trio.nodes[ill].await_fault(&[&data]);
        assert!(line.contains("full") || line.contains("No space left"), "{line}");
        load.await_progress();

        // Started without room it stops again, and is no danger to the others.
        trio.nodes[ill].start(None);
        let again = trio.nodes[ill].await_fault(&[&data]);
        assert!(again.contains("full") || again.contains("No space left"), "{again}");
        load.await_progress();

        disks[ill].enlarge();
        trio.nodes[ill].start(None);
        trio.nodes[ill].await_ready();
        disks[ill].unfill();
    }
    load.await_progress();
    load.end(&trio, &org);
}

#[test]
fn a_lone_node_whose_disk_filled_up_has_every_write_it_acknowledged_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), 1);
    let Some(mut disk) = Tmpfs::mount(&node.data, MEBIBYTES) else { return };
    node.start(None);
    node.await_ready();
    let password = std::fs::read_to_string(node.data.join("initial-admin-password")).unwrap();
    let platform = node.caller().log_in("admin@localhost", password.trim(), "system");
    let org = create_organization(&platform, "acme", "enterprise", None);
    let body = serde_json::json!({ "resource": "max_cases", "amount": 1 });
    let write = |id: &str| {
        platform.send("POST", &org.path("/usage"), Some(body.to_string().as_bytes()), &[("x-request-id", id)])
    };
    disk.fill();
    let mut kept = 0;
    // The one whose answer did not come: it may have been kept, and is asked again under its id.
    let open = loop {
        let id = uuid::Uuid::new_v4().to_string();
        match write(&id) {
            Some(answer) if answer.status == 200 => kept += 1,
            _ => break id,
        }
    };
    let line = node.await_fault(&[&node.data.display().to_string()]);
    assert!(line.contains("full") || line.contains("No space left"), "{line}");
    disk.enlarge();
    node.start(None);
    node.await_ready();
    let found = count_at(&node.url, &platform, &org).unwrap();
    assert!(found == kept || found == kept + 1, "{kept} were acknowledged, {found} are there");
    assert_eq!(write(&open).unwrap().json["usage"], kept + 1);
}

#[test]
fn a_data_folder_that_may_not_be_written_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), 1);
    let Some(disk) = Tmpfs::mount(&node.data, MEBIBYTES) else { return };
    node.start(None);
    node.await_ready();
    node.stop();
    disk.remount("ro");
    node.start(None);
    let (code, line) = node.await_end();
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("Read-only file system") && line.contains("--data-dir"), "{line}");
    disk.remount("rw");
    node.start(None);
    node.await_ready();
}
