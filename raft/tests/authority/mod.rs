//! From one authority to the next, as the application drives it: every node at a step before any is at the next.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use raft::{JoinError, NewAuthority, Replica, Safe, Step};

use crate::{
    model::{Cluster, SOON},
    plain,
};

fn turn(cluster: &Cluster, node: u64, step: Step, new: &NewAuthority) {
    cluster.nodes[&node].replica.turn_authority(step, &new.old, &new.secret).unwrap();
}

fn turn_all(cluster: &Cluster, new: &NewAuthority) {
    for step in [Step::Trust, Step::Issue, Step::Forget] {
        for node in cluster.nodes.keys() {
            turn(cluster, *node, step, new);
        }
    }
}

/// Writes through one node until it is told to end; answers how many writes were acknowledged, or the refusal.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    writer: JoinHandle<Result<usize, raft::Unavailable>>,
}

impl Load {
    fn on(replica: Replica, name: &'static str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (stop.clone(), done.clone());
        let writer = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            while !told.load(Ordering::SeqCst) {
                let body = Bytes::from(format!("{name} {}", count.load(Ordering::SeqCst)));
                runtime.block_on(replica.propose(body, SOON))?;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(count.load(Ordering::SeqCst))
        });
        Self { stop, done, writer }
    }

    /// Waits until some more writes were acknowledged: what happened before did not stop them.
    fn goes_on(&self, cluster: &Cluster) {
        let before = self.done.load(Ordering::SeqCst);
        cluster.until("writes go on", |_| {
            self.done.load(Ordering::SeqCst) > before + 5 || self.writer.is_finished()
        });
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.writer.join().unwrap().expect("no write is refused")
    }
}

#[test]
fn the_authority_changes_under_load_while_a_node_restarts_at_every_step() {
    let mut cluster = Cluster::of(3, plain);
    let (leader, restarted) = (cluster.leader(), cluster.follower());
    let other = 6 - leader - restarted;
    let load =
        [(leader, "a"), (other, "b")].map(|(id, name)| Load::on(cluster.nodes[&id].replica.clone(), name));
    let new = cluster.nodes[&leader].replica.new_authority().unwrap();
    let rejoin = |cluster: &mut Cluster| {
        let config = cluster.kill(restarted);
        cluster.start(config);
        // It hears from the leader and is heard: connections in both directions are new.
        let end = cluster.nodes[&leader].replica.status().last_index;
        cluster.until("it is back", |c| c.nodes[&restarted].replica.applied_index() >= end);
        let model = cluster.nodes[&restarted].model.clone();
        let before = model.count("c");
        cluster.put(restarted, &format!("c {before}")).unwrap();
    };
    for step in [Step::Trust, Step::Issue, Step::Forget] {
        for node in [leader, other] {
            turn(&cluster, node, step, &new);
        }
        if step != Step::Forget {
            rejoin(&mut cluster); // as it was, among those that are ahead
        }
        turn(&cluster, restarted, step, &new);
        rejoin(&mut cluster);
        load.iter().for_each(|load| load.goes_on(&cluster));
    }
    let [a, b] = load.map(Load::end);
    cluster.until("all have all", |c| {
        c.nodes.values().all(|n| (n.model.count("a"), n.model.count("b"), n.model.count("c")) == (a, b, 5))
    });
    for node in cluster.nodes.values() {
        let certificates = node.replica.certificates();
        assert_eq!(
            (certificates.authority, certificates.trusted),
            (new.fingerprint.clone(), vec![new.fingerprint.clone()])
        );
    }
}

#[test]
fn nodes_join_at_every_step_and_old_tokens_end_with_the_old_authority() {
    let mut cluster = Cluster::of(1, plain);
    let new = cluster.nodes[&1].replica.new_authority().unwrap();
    let early = cluster.token();
    let mut id = 1;
    for step in [Step::Trust, Step::Issue, Step::Forget] {
        for node in cluster.nodes.keys() {
            turn(&cluster, *node, step, &new);
        }
        id += 1;
        cluster.join(id);
        cluster.put(1, &format!("a {id}")).unwrap();
        cluster.until("it listens", |c| c.nodes[&id].model.count("a") as u64 == id - 1);
        let trusted = cluster.nodes[&id].replica.certificates().trusted;
        assert_eq!(trusted, cluster.nodes[&1].replica.certificates().trusted, "it is told of both");
    }
    let refused = cluster.wait(Replica::join(&cluster.config(9), &early, Vec::new())).err().unwrap();
    assert!(
        matches!(&refused, JoinError::Unreachable(why) if why.contains("was rotated since")),
        "{refused}"
    );
}

/// What lies in a node's folder of the authority.
fn kept(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("pki/authority")).unwrap()
}

/// The private key of the authority that a node goes to, as it lies in the clear.
fn key_of(new: &NewAuthority) -> &[u8] {
    let at = new.secret.windows(5).rposition(|bytes| bytes == [2, 1, 1, 4, 32]).unwrap();
    &new.secret[at + 5..at + 37]
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_authority_lies_sealed_at_every_step_and_under_the_newest_key_after_a_kill() {
    let mut cluster = Cluster::of(1, plain);
    cluster.join(2);
    let new = cluster.nodes[&1].replica.new_authority().unwrap();
    let mask = |cluster: &Cluster| cluster.door.mask.newest.load(Ordering::SeqCst);
    for step in [Step::Trust, Step::Issue, Step::Forget] {
        for id in [1, 2] {
            turn(&cluster, id, step, &new);
            let kept = kept(&cluster.nodes[&id].config.folder);
            assert!(!holds(&kept, key_of(&new)), "node {id} at {step:?}");
            let masked: Vec<u8> = key_of(&new).iter().map(|byte| byte ^ !mask(&cluster)).collect();
            assert_eq!(holds(&kept, &masked), step != Step::Trust, "it is what is sealed");
        }
    }
    // The key changes; one node seals anew, the other is killed before it does.
    cluster.door.mask.newest.store(7, Ordering::SeqCst);
    assert!(cluster.nodes.values().all(|node| !node.replica.is_authority_resealed()));
    cluster.nodes[&1].replica.reseal_authority().unwrap();
    let config = cluster.kill(2);
    cluster.start(config);
    let plain = [1, 2].map(|id| {
        let node = &cluster.nodes[&id];
        assert!(node.replica.is_authority_resealed(), "node {id}");
        assert_eq!(node.replica.certificates().authority, new.fingerprint);
        let kept = kept(&node.config.folder);
        cluster.door.mask.open(kept.strip_prefix(b"threatflow-sealed/1\n").unwrap()).unwrap()
    });
    assert!(plain.iter().all(|plain| holds(plain, key_of(&new))));
    assert_eq!(cluster.put(2, "a 1").unwrap(), 1);
}

#[test]
fn an_authority_that_a_build_before_left_open_is_sealed_at_the_start() {
    let mut cluster = Cluster::of(2, plain);
    let config = cluster.kill(2);
    let sealed = kept(&config.folder);
    let open = cluster.door.mask.open(sealed.strip_prefix(b"threatflow-sealed/1\n").unwrap()).unwrap();
    std::fs::write(config.folder.join("pki/authority"), &open).unwrap();
    let is_sealed = |folder: &Path| Replica::keeps_authority_sealed(folder, &cluster.door.mask).unwrap();
    assert!(!is_sealed(&config.folder) && is_sealed(&cluster.nodes[&1].config.folder));
    cluster.start(config.clone());
    assert_eq!(kept(&config.folder), sealed);
    assert_eq!(cluster.put(2, "a 1").unwrap(), 1);
}

/// A cluster of three voters of which one is dead and another node, with the authority of a node that was removed
/// and a certificate it made for itself in the name of the dead one, sits at the dead one's address.
fn with_impostor(rotate: bool) -> (Cluster, u64, u64) {
    let mut cluster = Cluster::of(4, plain);
    let leader = cluster.leader();
    let mut others = cluster.nodes.keys().copied().filter(|id| *id != leader);
    let (gone, dead) = (others.next().unwrap(), others.next().unwrap());
    cluster.wait(cluster.nodes[&leader].replica.remove(gone, false, SOON)).unwrap();
    let removed = cluster.kill(gone);
    if rotate {
        let new = cluster.nodes[&leader].replica.new_authority().unwrap();
        turn_all(&cluster, &new);
    }
    let mut config = cluster.kill(dead);
    config.folder = config.folder.with_extension("impostor");
    copy_identity(&removed.folder, &config.folder);
    std::fs::remove_dir_all(cluster.files(dead)).ok();
    cluster.start(config);
    (cluster, leader, dead)
}

fn copy_identity(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("pki")).unwrap();
    std::fs::copy(from.join("pki/authority"), to.join("pki/authority")).unwrap();
}

#[test]
fn a_removed_node_s_authority_is_worth_nothing_after_a_rotation() {
    // Without a rotation it is worth everything: the leader speaks to the impostor.
    let (cluster, _, dead) = with_impostor(false);
    cluster.until("the impostor is believed", |c| c.nodes[&dead].replica.status().term > 0);
    drop(cluster);

    let (cluster, leader, dead) = with_impostor(true);
    cluster.put(leader, "a 1").unwrap();
    // So long that the leader has called at that address several times.
    let silent = |c: &Cluster| {
        let members = c.nodes[&leader].replica.status().members;
        members.iter().find(|member| member.node == dead).and_then(|member| member.last_ack_ms)
    };
    cluster.until("it was called", |c| silent(c).is_none_or(|ms| ms > 3_000));
    let status = cluster.nodes[&dead].replica.status();
    assert_eq!((status.last_index, status.term, status.leader), (0, 0, None));
    assert_eq!(cluster.put(leader, "a 2").unwrap(), 2);
}

#[test]
fn fresh_certificates_serve_at_once_and_open_connections_stay() {
    let mut cluster = Cluster::of(3, plain);
    let (leader, restarted) = (cluster.leader(), cluster.follower());
    let load = Load::on(cluster.nodes[&leader].replica.clone(), "a");
    let before = cluster.nodes[&leader].replica.certificates();
    for node in cluster.nodes.values() {
        node.replica.renew_certificate().unwrap();
    }
    load.goes_on(&cluster);
    let after = cluster.nodes[&leader].replica.certificates();
    assert!(after.expires_ms > before.expires_ms && after.authority == before.authority);
    let config = cluster.kill(restarted);
    cluster.start(config);
    let end = cluster.nodes[&leader].replica.status().last_index;
    cluster.until("new connections are made", |c| c.nodes[&restarted].replica.applied_index() >= end);
    load.goes_on(&cluster);
    assert!(load.end() > 10);
}

#[test]
fn the_status_says_how_far_behind_a_follower_is_and_for_how_long() {
    let mut cluster = Cluster::of(3, plain);
    let (leader, dead) = (cluster.leader(), cluster.follower());
    cluster.put(leader, "a 0").unwrap();
    let lag = |c: &Cluster| {
        let members = c.nodes[&leader].replica.status().members;
        let member = members.into_iter().find(|member| member.node == dead).unwrap();
        (member.lag.unwrap_or(0), member.lag_ms.unwrap_or(0))
    };
    cluster.until("it has all", |c| lag(c) == (0, 0));
    let config = cluster.kill(dead);
    for at in 1..=20 {
        cluster.put(leader, &format!("a {at}")).unwrap();
    }
    cluster.until("it is behind for a while", |c| lag(c).0 == 20 && lag(c).1 > 1_000);
    cluster.start(config);
    cluster.until("it has caught up", |c| lag(c) == (0, 0));
    let replica = &cluster.nodes[&leader].replica;
    let (figures, status) = (replica.figures(), replica.status());
    assert!(figures.proposals_done >= 21 && figures.applied_entries >= 21, "{figures:?}");
    assert!(figures.applies.count > 0 && status.log.syncs.count > 20 && status.log.syncs.micros > 0);
    let refused = cluster.wait(replica.propose(Bytes::from(vec![b'x'; 2 << 20]), Duration::from_secs(1)));
    assert!(refused.is_err() && replica.figures().proposals_too_large == 1);
}
