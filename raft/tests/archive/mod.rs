//! A copy of what is committed, and a cluster made from one.

use raft::{Replica, Unavailable, Unread};

use crate::{
    model::{Cluster, SOON},
    plain,
};

/// What the log of node 1 gives out from `from` on: where it ends, and the bodies.
fn read(cluster: &Cluster, from: u64, bytes_max: usize) -> Option<(u64, Vec<String>)> {
    let replica = &cluster.nodes[&1].replica;
    let stretch = cluster.wait(replica.committed(from, bytes_max)).unwrap()?;
    assert_eq!(stretch.first, from);
    let text = |entry: &raft::Entry| String::from_utf8(entry.body.to_vec()).unwrap();
    Some((stretch.last, stretch.entries.iter().map(text).collect()))
}

fn put(cluster: &Cluster, count: usize) {
    for at in 0..count {
        cluster.put(1, &format!("a {at}")).unwrap();
    }
    let replica = &cluster.nodes[&1].replica;
    cluster.wait(replica.checkpoint(SOON)).unwrap();
}

#[test]
fn what_is_committed_is_given_out_in_stretches_without_a_gap() {
    let cluster = Cluster::of(1, plain);
    put(&cluster, 40);
    let end = cluster.nodes[&1].replica.applied_index();
    let (last, all) = read(&cluster, 1, usize::MAX).unwrap();
    assert_eq!((last, all.len()), (end, 40));
    let (mut from, mut pieced) = (1, Vec::new());
    while let Some((last, mut some)) = read(&cluster, from, 20) {
        assert!(some.len() < 10, "bounded");
        pieced.append(&mut some);
        from = last + 1;
    }
    assert_eq!((from, pieced), (end + 1, all));
}

#[test]
fn what_is_held_stays_in_the_log_and_what_is_not_is_told_to_be_gone() {
    let cluster = Cluster::of(1, plain);
    let replica = &cluster.nodes[&1].replica;
    replica.hold(Some(5));
    put(&cluster, 60);
    // Everything but the ten that are always kept could go, were it not for the hold.
    cluster.until("it is cut below the hold", |c| c.nodes[&1].replica.status().purged_index == 4);
    assert!(read(&cluster, 5, usize::MAX).is_some_and(|(_, bodies)| bodies.len() > 50));
    assert!(matches!(cluster.wait(replica.committed(4, 1)), Err(Unread::Cut(4))));
    let cut = cluster.wait(replica.purge(20, std::time::Duration::from_millis(300)));
    assert_eq!(cut, Err(Unavailable::OutcomeUnknown), "a cut by hand waits for the hold");
    replica.hold(None);
    cluster.until("it is cut", |c| c.nodes[&1].replica.status().purged_index > 40);
    assert!(matches!(cluster.wait(replica.committed(5, 1)), Err(Unread::Cut(upto)) if upto > 40));
}

#[test]
fn a_node_that_starts_cuts_nothing_before_it_is_told_what_is_needed() {
    let cluster = Cluster::of(1, |config| config.held_at_start = true);
    put(&cluster, 60);
    let replica = &cluster.nodes[&1].replica;
    let cut = cluster.wait(replica.purge(40, std::time::Duration::from_millis(500)));
    assert_eq!(cut, Err(Unavailable::OutcomeUnknown));
    assert!(read(&cluster, 1, 1).is_some());
    replica.hold(None);
    cluster.until("it is cut", |c| c.nodes[&1].replica.status().purged_index > 40);
}

#[test]
fn a_cluster_is_made_anew_from_files_and_goes_on_where_they_end() {
    let mut cluster = Cluster::of(1, plain);
    put(&cluster, 30);
    let (index, stamps) =
        (cluster.nodes[&1].replica.applied_index(), cluster.nodes[&1].model.stamps.lock().unwrap().clone());
    // A clock that is a day behind: stamps must not fall all the same.
    let newest = stamps.last().unwrap() + 86_400_000;
    cluster.stop(1);

    let config = cluster.config(7);
    std::fs::rename(cluster.files(1), cluster.files(7)).unwrap();
    Replica::refound(&config, index, newest, &cluster.door.mask).unwrap();
    assert!(Replica::refound(&config, index, newest, &cluster.door.mask).is_err(), "once");
    cluster.start(config);
    assert_eq!(cluster.put(7, "a 30").unwrap(), 31);
    let file = cluster.nodes[&7].model.files.lock().unwrap()["a"].clone();
    assert!(file.mark > index, "{} after {index}", file.mark);
    assert!(cluster.nodes[&7].model.stamps.lock().unwrap().last().unwrap() >= &newest);

    cluster.join(8);
    cluster.until("a node joins it", |c| c.nodes[&8].model.count("a") == 31);
    let config = cluster.kill(7);
    cluster.start(config);
    assert_eq!(cluster.put(7, "a 31").unwrap(), 32);
}
