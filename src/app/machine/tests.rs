#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use raft::{GroupId, Machine};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    cluster::{Envelope, pending},
    features::{organizations::model::Details, quotas::Plan},
    kernel::{Actor, Origin, RequestId, Role, UserId},
    store::{Keyring, LEVEL, WrappedKey, Writers, digest},
};

const ENTRIES: u64 = 3_000;
const ORGANIZATIONS: u64 = 24;

/// The same numbers on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn id(kind: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(0x7000 + kind, number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())
}

/// A command on its way to a file.
struct Asked {
    file: OrgId,
    actor: Actor,
    kind: &'static str,
    body: Value,
}

fn organization(number: u64) -> Value {
    let slug = format!("org-{number}");
    let details = Details::new(Plan::Free, slug.clone(), format!("bills@{slug}.example"), json!({}));
    json!({ "id": id(1, number), "slug": slug, "domain": format!("{slug}.example"), "plan": "free",
        "region": "eu", "details": details })
}

fn user(number: u64, role: &str) -> Value {
    json!({ "id": id(2, number), "email": format!("user-{number}@org.example"), "role": role })
}

fn provision(number: u64) -> Asked {
    let body =
        json!({ "organization": organization(number), "ancestors": [], "admin": user(number, "admin") });
    Asked { file: OrgId(id(1, number)), actor: Actor::System, kind: "organizations.provision", body }
}

/// Something that users, clients and jobs do, kept or refused.
fn anything(dice: &mut Dice) -> Asked {
    let number = dice.below(ORGANIZATIONS);
    let file = OrgId(id(1, number));
    let by =
        |user: u64, role| Actor::User { organization: file, user: UserId(id(2, user)), role, session: None };
    let (actor, kind, body) = match dice.below(20) {
        0 => (Actor::System, "quotas.lease_calls", json!({ "wanted": dice.below(40) })),
        1 => (Actor::System, "spine.prune_replies", json!({ "before": dice.below(60_000), "limit": 20 })),
        2 => {
            let fresh = user(1_000 + dice.below(60), "analyst");
            (by(number, Role::Admin), "identity.create_user", json!({ "user": fresh }))
        }
        3 => (by(number, Role::Admin), "organizations.update", json!({ "patch": { "name": "Other" } })),
        4 => {
            let fresh = 100 + dice.below(200);
            let body = json!({ "organization": organization(fresh), "key": "00" });
            return Asked { file: OrgId::SYSTEM, actor: Actor::System, kind: "organizations.register", body };
        }
        // An analyst that is not there, and a stranger.
        5 => (by(99, Role::Analyst), "quotas.report_usage", json!({ "resource": "max_feeds", "amount": 1 })),
        _ => {
            let resource =
                ["max_workflows", "max_cases", "max_feeds"][usize::try_from(dice.below(3)).unwrap()];
            let amount = i64::try_from(dice.below(9)).unwrap() - 4;
            let body = json!({ "resource": resource, "amount": amount });
            (by(number, Role::Admin), "quotas.report_usage", body)
        }
    };
    Asked { file, actor, kind, body }
}

/// Writes the log: it holds the key of every file before the file is there.
struct Scribe {
    store: Store,
    keys: BTreeMap<OrgId, WrappedKey>,
    _folder: TempDir,
}

impl Scribe {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), keyring()).unwrap();
        let files = (0..ORGANIZATIONS).map(|number| OrgId(id(1, number))).chain([OrgId::SYSTEM]);
        let keys: BTreeMap<_, _> = files.map(|file| (file, store.keyring().mint(file).unwrap())).collect();
        for (file, key) in &keys {
            let begin =
                |store: &Store, writers: &mut Writers| writers.begin(store, *file, Some((1, key))).map(drop);
            store.write(*file, begin).unwrap();
        }
        Self { store, keys, _folder: folder }
    }

    fn entry(&self, index: u64, request: u64, fingerprint: &str, asked: &Asked) -> Entry {
        let creates = ["membership.bootstrap", "organizations.provision"].contains(&asked.kind);
        let envelope = Envelope {
            kind: asked.kind.to_owned(),
            version: 1,
            level: LEVEL,
            group: GroupId::MAIN.0,
            organization: asked.file,
            actor: asked.actor.clone(),
            request: RequestId(id(3, request)),
            fingerprint: fingerprint.to_owned(),
            salt: format!("{index:064x}"),
            origin: Origin::default(),
            body: to_raw_value(&asked.body).unwrap(),
            proved_at: None,
        };
        let brings = creates.then(|| &self.keys[&asked.file]);
        let plain = serde_json::to_vec(&envelope).unwrap();
        let body = self.store.seal_entry(asked.file, brings, &plain).unwrap().unwrap().into();
        Entry { group: GroupId::MAIN, index, at_ms: index * 20, body }
    }

    /// A log as a busy installation leaves it: entries for files that are not there yet, refusals, repeated
    /// requests.
    fn log(&self) -> Vec<Entry> {
        let mut dice = Dice(7);
        let begin = json!({ "admin": user(0, "platform_admin"), "secrets": { "peer-ca": "00" } });
        let bootstrap =
            Asked { file: OrgId::SYSTEM, actor: Actor::System, kind: "membership.bootstrap", body: begin };
        let mut entries = vec![self.entry(1, 1, "", &bootstrap)];
        let mut born = 0;
        for index in 2..=ENTRIES {
            if born < ORGANIZATIONS && dice.below(8) == 0 {
                entries.push(self.entry(index, index, "", &provision(born)));
                born += 1;
                continue;
            }
            let asked = anything(&mut dice);
            let (request, fingerprint) = match dice.below(30) {
                // Asked before, the same or something else.
                0 => (1 + dice.below(index), "same"),
                1 => (1 + dice.below(index), "other"),
                _ => (index, "same"),
            };
            entries.push(self.entry(index, request, fingerprint, &asked));
        }
        entries
    }
}

/// One node: a machine over a folder.
struct Node {
    machine: FileMachine,
    store: Arc<Store>,
}

impl Node {
    fn open(folder: &TempDir, workers: usize) -> Self {
        let store = Arc::new(Store::open(folder.path(), keyring()).unwrap().in_shares(workers, 8));
        let (machine, _) = FileMachine::new(Arc::clone(&store)).unwrap();
        Self { machine, store }
    }

    /// Applies entries in batches of up to `most`, settling now and then.
    fn apply(&self, entries: &[Entry], most: u64, dice: &mut Dice) -> BTreeMap<u64, Bytes> {
        let mut replies = BTreeMap::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let size = usize::try_from(1 + dice.below(most)).unwrap().min(rest.len());
            let (batch, later) = rest.split_at(size);
            let answered = self.machine.apply(batch.to_vec()).unwrap();
            assert_eq!(answered.len(), batch.len());
            replies.extend(batch.iter().map(|entry| entry.index).zip(answered));
            if dice.below(3) == 0 {
                self.machine.settle().unwrap();
            }
            rest = later;
        }
        replies
    }

    /// The files with effects on their way, found by looking into each.
    fn sending(&self) -> BTreeSet<OrgId> {
        let waits = |file: &OrgId| !self.store.read(*file, pending).unwrap().unwrap().is_empty();
        self.store.list().into_iter().filter(waits).collect()
    }

    fn digests(&self) -> BTreeMap<OrgId, (u64, String)> {
        self.machine.settle().unwrap();
        let digest_of = |file| (file, self.store.read(file, digest).unwrap().unwrap());
        self.store.list().into_iter().map(digest_of).collect()
    }
}

#[test]
fn any_number_of_workers_and_any_cuts_store_and_answer_the_same() {
    let log = Scribe::new().log();
    let (one, four) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, four) = (Node::open(&one, 1), Node::open(&four, 4));
    let replies = one.apply(&log, 12, &mut Dice(1));
    assert_eq!(four.apply(&log, 300, &mut Dice(2)), replies);
    let digests = one.digests();
    assert_eq!(digests.len(), 1 + usize::try_from(ORGANIZATIONS).unwrap());
    assert_eq!(four.digests(), digests);
    let refused = replies.values().filter(|reply| reply.windows(7).any(|part| part == b"refused")).count();
    assert!((200..2_800).contains(&refused), "{refused} of the log's entries were refused");
}

#[test]
fn a_crash_between_files_and_a_replay_end_where_the_others_are() {
    let log = Scribe::new().log();
    let (steady, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let steady = Node::open(&steady, 1);
    let replies = steady.apply(&log, 200, &mut Dice(3));
    let (checkpoint, crash) = (log.len() / 3, log.len() / 2);
    {
        let node = Node::open(&folder, 4);
        node.apply(&log[..checkpoint], 100, &mut Dice(4));
        node.machine.settle().unwrap();
        node.machine.checkpoint().unwrap();
        node.apply(&log[checkpoint..crash - 100], 100, &mut Dice(5));
        // Some files stand at their last entry, the others where the last commit left them.
        node.machine.apply(log[crash - 100..crash].to_vec()).unwrap();
        node.store.write_share(1, |store, writers| writers.commit(store)).unwrap();
    }
    let node = Node::open(&folder, 3);
    let replayed = node.apply(&log[checkpoint..], 150, &mut Dice(6));
    let again = replayed.iter().filter(|(index, reply)| !reply.is_empty() && **index <= crash as u64).count();
    assert!(again > 10, "the crash took back {again} entries");
    for (index, reply) in replayed.iter().filter(|(_, reply)| !reply.is_empty()) {
        assert_eq!(reply, &replies[index], "entry {index}");
    }
    assert_eq!(node.digests(), steady.digests());
}

#[test]
fn the_first_fault_by_index_is_told_and_nothing_uncommitted_stays() {
    let scribe = Scribe::new();
    let log = scribe.log();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(&folder, 4);
    node.apply(&log[..1_000], 100, &mut Dice(8));
    let before = node.digests();
    let mut batch = log[1_000..1_400].to_vec();
    for (place, file) in [(350, 3), (120, 4), (240, 5)] {
        let unknown = Asked { kind: "future.command", ..provision(file) };
        let index = batch[place].index;
        batch[place] = scribe.entry(index, index, "", &unknown);
    }
    let told = node.machine.apply(batch).unwrap_err().to_string();
    assert!(told.contains("entry 1121 "), "{told}");
    assert!(node.machine.settle().is_err());
    assert!(node.machine.apply(log[1_400..1_401].to_vec()).is_err());
    drop(node);
    assert_eq!(Node::open(&folder, 2).digests(), before);
}

#[test]
fn files_with_effects_on_their_way_are_known_without_a_look_into_any() {
    let scribe = Scribe::new();
    let log = scribe.log();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(&folder, 2);
    node.apply(&log[..1_000], 100, &mut Dice(9));
    node.machine.settle().unwrap();
    let sending = node.sending();
    assert!(sending.len() > 3 && sending.len() < node.store.list().len(), "{}", sending.len());
    assert_eq!(node.store.sending(), sending);

    let of = *sending.last().unwrap();
    let mut index = 1_000;
    for (effect, _) in node.store.read(of, pending).unwrap().unwrap() {
        assert!(node.store.is_sending(of));
        index += 1;
        let forget = Asked {
            file: of,
            actor: Actor::System,
            kind: "spine.forget_sent",
            body: json!({ "id": effect }),
        };
        node.machine.apply(vec![scribe.entry(index, 10_000 + index, "", &forget)]).unwrap();
        node.machine.settle().unwrap();
    }
    assert!(!node.store.is_sending(of));
}

#[test]
fn a_restart_tells_of_effects_that_were_written_after_the_checkpoint() {
    let log = Scribe::new().log();
    let folder = tempfile::tempdir().unwrap();
    {
        let node = Node::open(&folder, 2);
        node.apply(&log[..500], 100, &mut Dice(10));
        node.machine.settle().unwrap();
        node.machine.checkpoint().unwrap();
        node.apply(&log[500..1_000], 100, &mut Dice(11));
        node.machine.settle().unwrap();
    }
    let node = Node::open(&folder, 2);
    node.apply(&log[500..1_000], 100, &mut Dice(12));
    node.machine.settle().unwrap();
    assert!(node.store.sending().is_superset(&node.sending()));
    let told = node.machine.sent_from.borrow().clone();
    let since: BTreeSet<OrgId> = log[500..1_000]
        .iter()
        .filter_map(|entry| SealedEntry::parse(&entry.body).map(|sealed| sealed.file))
        .filter(|file| node.sending().contains(file))
        .collect();
    assert!(!since.is_empty() && told.is_superset(&since));
}
