//! A damaged file is set aside, replaced by another node's, and brought to where this node's log is; cut short at
//! any step it is done over.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde_json::value::to_raw_value;
use tempfile::TempDir;

use super::*;
use crate::{
    cluster::{Command, Envelope, Outcome, PruneReplies, WITHHELD},
    features::keys::Rekey,
    kernel::{Actor, Millis, Origin},
    store::{Keyring, LEVEL, Mark, Quarantined, Standing, WrappedKey},
};

const ORG: OrgId = OrgId(Uuid::from_u128(0xa1));
const AT: Millis = Millis(1_795_392_000_000);
const FAST: u64 = u64::MAX;

struct Node {
    folder: TempDir,
    store: Store,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.set_replicated(true).unwrap();
        Self { folder, store }
    }

    /// As a crash and a start would.
    fn restart(self) -> Self {
        let Self { folder, store } = self;
        drop(store);
        Self { store: open(folder.path()), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("tenants/{ORG}.db"))
    }

    fn apply(&self, index: u64, key: Option<&WrappedKey>) -> Vec<u8> {
        self.apply_body(index, &self.entry(index, key))
    }

    fn apply_body(&self, index: u64, body: &[u8]) -> Vec<u8> {
        let applied = self.store.write(ORG, |store, writers| {
            let dispatched = dispatch(store, writers, index, AT, body)?;
            writers.commit(store)?;
            Ok(dispatched.reply)
        });
        applied.unwrap()
    }

    fn entry(&self, index: u64, key: Option<&WrappedKey>) -> Vec<u8> {
        let plain = envelope(ORG, index);
        self.store.seal_entry(ORG, key, &plain).unwrap().unwrap()
    }

    fn standing(&self) -> Standing {
        self.store.standing(ORG).unwrap().unwrap()
    }

    fn close(&self) {
        let close = |_: &Store, writers: &mut crate::store::Writers| {
            writers.close(ORG);
            Ok(())
        };
        self.store.write(ORG, close).unwrap();
        // Nothing is left in the log beside the file.
        self.store.make_durable(ORG).unwrap();
    }

    /// Closes the file, so that what it says next comes from the disk.
    fn flip_every_page(&self) {
        self.close();
        flip(&self.path());
    }
}

fn open(folder: &Path) -> Store {
    Store::open(folder, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap()
}

fn envelope(organization: OrgId, index: u64) -> Vec<u8> {
    enveloped(organization, index, &PruneReplies { before: Millis(0), limit: 1 })
}

fn enveloped<C: Command>(organization: OrgId, index: u64, command: &C) -> Vec<u8> {
    let envelope = Envelope {
        kind: C::KIND.name.to_owned(),
        version: C::KIND.version,
        level: LEVEL,
        group: 0,
        organization,
        actor: Actor::System,
        request: RequestId(Uuid::from_u128(u128::from(index))),
        fingerprint: "f".repeat(600),
        salt: "00".repeat(32),
        origin: Origin::default(),
        body: to_raw_value(command).unwrap(),
        proved_at: None,
    };
    serde_json::to_vec(&envelope).unwrap()
}

/// One bit in every page but the first two.
fn flip(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 4, "{pages} pages are too few to be damaged");
    for page in 2..pages {
        let mut byte = [0];
        file.read_exact_at(&mut byte, page * 4096 + 100).unwrap();
        file.write_all_at(&[byte[0] ^ 4], page * 4096 + 100).unwrap();
    }
}

/// Two nodes that applied the same forty entries, durable.
fn twins() -> (Node, Node) {
    let (leader, follower) = (Node::new(), Node::new());
    let key = leader.store.keyring().mint(ORG).unwrap();
    for node in [&leader, &follower] {
        for index in 1..=40 {
            assert!(!node.apply(index, (index == 1).then_some(&key)).is_empty());
        }
        node.store.checkpoint().unwrap();
    }
    assert_eq!(leader.standing(), follower.standing());
    (leader, follower)
}

fn copy(leader: &Node, to: &Node) -> Mark {
    let path = to.store.to_take().join(format!("tenants/{ORG}.db"));
    let mark = leader.store.export(ORG, &path).unwrap().unwrap();
    to.store.prove(&path, &mark).unwrap();
    mark
}

fn assert_refuses(node: &Node) {
    let read = node.store.read(ORG, |_| Ok(()));
    assert!(read.is_err_and(|fault| Quarantined::is(&fault)));
}

fn assert_twins(leader: &Node, follower: &Node) {
    assert_eq!(leader.standing(), follower.standing());
    assert!(matches!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Sound { .. }));
    assert!(follower.store.alarms().is_empty());
}

#[test]
fn a_damaged_file_is_replaced_and_catches_up_with_what_was_applied_meanwhile() {
    let (leader, follower) = twins();
    follower.flip_every_page();
    assert_eq!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Damaged);
    assert_refuses(&follower);
    let both = |index| (leader.apply(index, None), follower.apply(index, None));
    let (answered, silent) = both(41);
    assert!(answered != silent && silent == WITHHELD, "it says nothing about an entry it could not apply");

    follower.store.hold_back(ORG).unwrap();
    both(42);
    let mark = copy(&leader, &follower);
    assert_eq!(mark.mark, 42);
    both(43);
    both(44);
    assert!(follower.store.replace(&follower.store.to_take(), &mark).unwrap());
    both(45);
    assert!(catch_up(&follower.store, ORG).unwrap());
    both(46);
    assert_refuses(&follower);
    follower.store.make_durable(ORG).unwrap();
    follower.store.clear(ORG).unwrap();
    assert_twins(&leader, &follower);
    assert!(!both(47).1.is_empty());
    assert_twins(&leader, &follower.restart());
}

#[test]
fn a_repair_that_is_cut_short_at_any_step_is_done_over() {
    for step in 0..5 {
        let (leader, mut follower) = twins();
        follower.flip_every_page();
        assert_eq!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Damaged);
        let mut indexes = 41..;
        for last in [step, 6] {
            let mut both = || {
                let index = indexes.next().unwrap();
                leader.apply(index, None);
                follower.apply(index, None);
            };
            follower.store.hold_back(ORG).unwrap();
            both();
            let mark = copy(&leader, &follower);
            both();
            if last > 1 {
                assert!(follower.store.replace(&follower.store.to_take(), &mark).unwrap(), "step {step}");
            }
            both();
            if last > 2 {
                assert!(catch_up(&follower.store, ORG).unwrap());
                both();
            }
            if last > 3 {
                follower.store.make_durable(ORG).unwrap();
            }
            if last > 4 {
                follower.store.clear(ORG).unwrap();
            }
            follower = follower.restart();
            if last < 5 {
                assert_refuses(&follower);
            }
            let index = indexes.next().unwrap();
            leader.apply(index, None);
            follower.apply(index, None);
        }
        assert_twins(&leader, &follower);
    }
}

#[test]
fn damage_found_by_apply_sets_the_file_aside_and_other_files_go_on() {
    let (leader, follower) = twins();
    let follower = follower.restart();
    follower.flip_every_page();
    let reply = follower.apply(41, None);
    assert!(reply == WITHHELD && follower.store.alarms()[&ORG].found == Found::Damaged);
    assert_refuses(&follower);
    let exported = follower.store.export(ORG, &follower.store.to_send().join("1.db"));
    assert!(exported.is_err_and(|fault| Quarantined::is(&fault)), "a damaged file is not handed on");
    // Also after a restart, and without touching the file.
    let follower = follower.restart();
    assert_eq!(follower.apply(42, None), WITHHELD);
    let other = OrgId(Uuid::from_u128(0xb2));
    let key = follower.store.keyring().mint(other).unwrap();
    let body = follower.store.seal_entry(other, Some(&key), &envelope(other, 43)).unwrap().unwrap();
    let reply = follower.store.write(other, |store, writers| dispatch(store, writers, 43, AT, &body));
    assert!(serde_json::from_slice::<Outcome>(&reply.unwrap().reply).is_ok());
    drop(leader);
}

#[test]
fn an_older_file_in_its_place_is_damage_too() {
    let (leader, follower) = twins();
    let old = fs::read(follower.path()).unwrap();
    leader.apply(41, None);
    follower.apply(41, None);
    follower.store.checkpoint().unwrap();
    let (path, follower) = (follower.path(), follower);
    follower.close();
    let Node { folder, store } = follower;
    drop(store);
    for extension in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(path.with_extension(extension));
    }
    fs::write(&path, old).unwrap();
    let follower = Node { store: open(folder.path()), folder };
    assert_eq!(follower.apply(42, None), WITHHELD);
    assert_eq!(follower.store.alarms()[&ORG].found, Found::Damaged);
}

#[test]
fn a_file_that_is_gone_is_damage_too() {
    let (_leader, follower) = twins();
    fs::remove_file(follower.path()).unwrap();
    let follower = follower.restart();
    assert_refuses(&follower);
    assert_eq!(follower.store.alarms()[&ORG].found, Found::Damaged);
}

#[test]
fn without_another_node_damage_in_apply_is_a_fault_and_a_scrub_only_tells() {
    let (_leader, follower) = twins();
    follower.store.set_replicated(false).unwrap();
    follower.flip_every_page();
    assert_eq!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Damaged);
    assert!(follower.store.alarms().is_empty());
    let body = follower.entry(41, None);
    let applied = follower.store.write(ORG, |store, writers| dispatch(store, writers, 41, AT, &body));
    assert!(applied.is_err());
}

#[test]
fn a_copy_that_does_not_add_up_is_not_taken() {
    let (leader, follower) = twins();
    let path = follower.store.to_take().join(format!("tenants/{ORG}.db"));
    let mark = leader.store.export(ORG, &path).unwrap().unwrap();
    assert!(follower.store.prove(&path, &Mark { mark: 39, ..mark.clone() }).is_err());
    follower.store.prove(&path, &mark).unwrap();
    flip(&path);
    assert!(follower.store.prove(&path, &mark).is_err());
}

#[test]
fn a_copy_that_a_snapshot_was_faster_than_is_not_taken() {
    let (leader, follower) = twins();
    follower.store.set_aside(ORG, Found::Differs, "for a test").unwrap();
    follower.store.hold_back(ORG).unwrap();
    let mark = copy(&leader, &follower);
    let staged = tempfile::tempdir().unwrap();
    fs::create_dir(staged.path().join("tenants")).unwrap();
    leader.apply(41, None);
    let newer = leader.store.export(ORG, &staged.path().join(mark.name())).unwrap().unwrap();
    follower.store.install(staged.path(), &[], &[newer]).unwrap();
    assert!(follower.store.alarms().is_empty(), "what a snapshot brings is sound");
    assert!(!follower.store.replace(&follower.store.to_take(), &mark).unwrap());
    assert_twins(&leader, &follower);
}

/// How far a rotation of the file's data key has come on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rotation {
    /// The new key is known.
    Begun,
    /// The pages are under it.
    Done,
}

fn rotate(node: &Node, to: Rotation, index: u64, key: &WrappedKey) {
    node.store.take_next_key(ORG, index, 2, key).unwrap();
    if to == Rotation::Done {
        node.store.reencrypt(ORG).unwrap();
    }
}

#[test]
fn a_file_that_is_damaged_while_its_key_is_changed_is_repaired_and_ends_under_the_new_key() {
    let steps = [Rotation::Begun, Rotation::Done];
    let cases = steps.iter().flat_map(|leads| steps.map(|follows| (*leads, follows)));
    for ((leads, follows), restarts) in cases.flat_map(|case| [(case, false), (case, true)]) {
        let (leader, mut follower) = twins();
        let key = leader.store.keyring().mint(ORG).unwrap();
        rotate(&leader, leads, 40, &key);
        rotate(&follower, follows, 40, &key);
        follower.flip_every_page();
        assert_eq!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Damaged);
        // The rotation waits for the copy: it does not end with damaged pages under the new key.
        follower.store.reencrypt(ORG).unwrap();
        assert_eq!(follower.store.rekeying().contains(&ORG), follows == Rotation::Begun);
        let both = |follower: &Node, index| (leader.apply(index, None), follower.apply(index, None));
        follower.store.hold_back(ORG).unwrap();
        both(&follower, 41);
        let mark = copy(&leader, &follower);
        both(&follower, 42);
        assert!(follower.store.replace(&follower.store.to_take(), &mark).unwrap());
        let left = follower.store.rekeying().contains(&ORG);
        assert_eq!(
            left,
            leads == Rotation::Begun,
            "what is left is what the copy says: {leads:?} {follows:?}"
        );
        assert!(catch_up(&follower.store, ORG).unwrap());
        follower.store.make_durable(ORG).unwrap();
        if restarts {
            follower = follower.restart();
            assert_eq!(follower.store.rekeying().contains(&ORG), left, "a start forgot it");
            follower.store.hold_back(ORG).unwrap();
            let mark = copy(&leader, &follower);
            assert!(follower.store.replace(&follower.store.to_take(), &mark).unwrap());
            assert!(catch_up(&follower.store, ORG).unwrap());
            follower.store.make_durable(ORG).unwrap();
        }
        follower.store.clear(ORG).unwrap();
        assert!(!both(&follower, 43).1.is_empty());
        for node in [&leader, &follower] {
            node.store.reencrypt(ORG).unwrap();
            assert!(node.store.rekeying().is_empty());
        }
        both(&follower, 44);
        assert_twins(&leader, &follower);
        assert_twins(&leader, &follower.restart());
    }
}

/// The entry that brings the key comes while entries are held back for the copy, which does not know of it.
#[test]
fn a_key_that_comes_while_a_file_is_replaced_is_taken_in_with_the_entries_held_back() {
    let (leader, follower) = twins();
    follower.flip_every_page();
    assert_eq!(follower.store.scrub(ORG, FAST).unwrap(), Scrubbed::Damaged);
    follower.store.hold_back(ORG).unwrap();
    let mark = copy(&leader, &follower);
    let wrapped = leader.store.keyring().mint(ORG).unwrap();
    let rekey = enveloped(ORG, 41, &Rekey { number: 2, key: wrapped });
    let body = leader.store.seal_entry(ORG, None, &rekey).unwrap().unwrap();
    let replies = [&leader, &follower].map(|node| node.apply_body(41, &body));
    assert_eq!(replies[1], WITHHELD);
    assert_eq!(leader.store.rekeying().len(), 1, "{}", String::from_utf8_lossy(&replies[0]));
    // From now on under the new key, which the follower does not have yet.
    let body = leader.entry(42, None);
    for node in [&leader, &follower] {
        node.apply_body(42, &body);
    }
    assert!(follower.store.replace(&follower.store.to_take(), &mark).unwrap());
    assert!(catch_up(&follower.store, ORG).unwrap());
    assert_eq!(follower.store.rekeying().len(), 1);
    follower.store.make_durable(ORG).unwrap();
    follower.store.clear(ORG).unwrap();
    follower.store.reencrypt(ORG).unwrap();
    assert_twins(&leader, &follower);
    assert_twins(&leader, &follower.restart());
}
