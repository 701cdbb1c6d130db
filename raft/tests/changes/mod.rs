//! Changes of the voters, as an operator makes them.

use std::time::Duration;

use raft::ChangeError;

use crate::{
    model::{Cluster, SOON},
    plain,
};

fn voters(cluster: &Cluster, at: u64) -> Vec<u64> {
    let status = cluster.nodes[&at].replica.status();
    let mut voters: Vec<u64> = status.members.iter().filter(|m| m.voter).map(|m| m.node).collect();
    voters.sort_unstable();
    voters
}

fn refusal(result: Result<(), ChangeError>) -> String {
    match result {
        Err(ChangeError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_demoted_node_listens_until_it_is_promoted() {
    let cluster = Cluster::of(3, plain);
    let (leader, other) = (cluster.leader(), cluster.follower());
    let replica = &cluster.nodes[&other].replica;
    cluster.wait(replica.demote(other, false, SOON)).unwrap();
    cluster.until("it is a learner", |c| !voters(c, leader).contains(&other));
    let status = cluster.nodes[&leader].replica.status();
    let about = status.members.iter().find(|member| member.node == other).unwrap();
    assert!(about.standby && about.zone == format!("room-{other}"));
    // It has caught up, and the autopilot leaves it alone: it goes on listening.
    cluster.put(leader, "a 1").unwrap();
    cluster.until("it listens", |c| c.nodes[&other].model.count("a") == 1);
    assert!(!voters(&cluster, leader).contains(&other));
    // Twice is once.
    cluster.wait(replica.demote(other, false, SOON)).unwrap();
    cluster.wait(replica.promote(other, SOON)).unwrap();
    cluster.until("it votes", |c| voters(c, leader) == [1, 2, 3]);
}

#[test]
fn the_leader_itself_can_be_demoted_and_removed() {
    let mut cluster = Cluster::of(3, plain);
    let leader = cluster.leader();
    cluster.wait(cluster.nodes[&leader].replica.demote(leader, false, SOON)).unwrap();
    let second = cluster.leader();
    assert_ne!(second, leader);
    assert!(!voters(&cluster, second).contains(&leader));
    cluster.wait(cluster.nodes[&second].replica.promote(leader, SOON)).unwrap();
    cluster.until("it votes again", |c| voters(c, second) == [1, 2, 3]);
    let asked = *cluster.nodes.keys().find(|id| **id != second).unwrap();
    cluster.wait(cluster.nodes[&asked].replica.remove(second, false, SOON)).unwrap();
    cluster.kill(second);
    cluster.put(asked, "a 1").unwrap();
    assert_eq!(voters(&cluster, asked).len(), 2);
}

#[test]
fn no_change_leaves_less_than_a_majority_that_answers() {
    let mut cluster = Cluster::of(3, plain);
    let (leader, dead) = (cluster.leader(), cluster.follower());
    let alive = 6 - leader - dead;
    cluster.until("one may be lost", |c| c.nodes[&leader].replica.status().failure_tolerance == Some(1));
    cluster.kill(dead);
    cluster.until("none may be lost", |c| c.nodes[&leader].replica.status().failure_tolerance == Some(0));
    let replica = &cluster.nodes[&leader].replica;
    for refused in [
        cluster.wait(replica.remove(alive, false, SOON)),
        cluster.wait(replica.may_remove(alive, false, SOON)),
        cluster.wait(replica.demote(alive, false, SOON)),
    ] {
        let why = refusal(refused);
        assert!(why.contains("1 of the 2 other voters answer"), "{why}");
    }
    assert_eq!(voters(&cluster, leader), [1, 2, 3]);
    cluster.wait(replica.may_remove(alive, true, SOON)).unwrap();
    // The dead one may go, and then the group is whole again.
    cluster.wait(replica.remove(dead, false, SOON)).unwrap();
    assert_eq!(voters(&cluster, leader).len(), 2);
    assert!(refusal(cluster.wait(replica.may_remove(dead, false, SOON))).contains("no member"));
}

#[test]
fn a_fourth_node_votes_only_after_it_was_steady() {
    let mut cluster = Cluster::of(3, |config| config.stabilization = Duration::from_secs(3600));
    let leader = cluster.leader();
    cluster.join(4);
    cluster.put(leader, "a 1").unwrap();
    cluster.until("it has caught up", |c| c.nodes[&4].model.count("a") == 1);
    assert_eq!(voters(&cluster, leader), [1, 2, 3]);
    // By hand it need not wait.
    cluster.wait(cluster.nodes[&leader].replica.promote(4, SOON)).unwrap();
    cluster.until("it votes", |c| voters(c, leader) == [1, 2, 3, 4]);
}
