//! What goes back and what stays; and the change itself, cut short at every step.

use std::{fs, path::Path, sync::Arc};

use serde_json::value::to_raw_value;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    app::dispatch,
    cluster::{Command, Envelope, PruneReplies, WITHHELD},
    features::backup::ReplaceContent,
    kernel::{Actor, Millis, Origin, RequestId},
    store::{Found, LEVEL, Replacement, Scrubbed, Standing, Store, WrappedKey, Writers, schema},
};

const ORG: OrgId = OrgId(Uuid::from_u128(0xa1));
const AT: Millis = Millis(1_795_392_000_000);
/// What goes back: whoever adds a table decides.
const BACK: &[&str] = &[
    "access_grants",
    "access_groups",
    "access_holdings",
    "access_members",
    "access_policies",
    "access_roles",
    "factors_passkeys",
    "factors_policy",
    "factors_recovery",
    "factors_totp",
    "factors_users",
    "identity_users",
    "intel_imports",
    "intel_objects",
    "sessions_policy",
    "workspace_collaborators",
    "workspace_notes",
    "workspace_records",
    "workspace_terms",
];
/// Each by a rule of its own.
const OWN: &[&str] = &["audit_events", "audit_personal", "quotas_usage", "spine_replies", "spine_state"];

#[test]
fn of_every_table_it_is_decided_whether_it_goes_back() {
    let mut decided: Vec<&str> = [STAY, END, BACK, OWN].concat();
    decided.sort_unstable();
    let schema = schema(ORG).unwrap();
    let named = schema.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
    let mut tables: Vec<&str> = named.filter_map(|line| line.split([' ', '(']).next()).collect();
    tables.sort_unstable();
    assert_eq!(decided, tables);
}

struct Node {
    folder: TempDir,
    store: Store,
}

impl Node {
    fn over(folder: TempDir) -> Self {
        Self { store: open(folder.path()), folder }
    }

    fn restart(self) -> Self {
        let Self { folder, store } = self;
        drop(store);
        Self::over(folder)
    }

    /// As it is on disk, elsewhere.
    fn twin(self) -> (Self, Self) {
        let Self { folder, store } = self;
        store.checkpoint().unwrap();
        drop(store);
        let other = tempfile::tempdir().unwrap();
        copy(folder.path(), other.path());
        (Self::over(folder), Self::over(other))
    }

    fn apply<C: Command>(&self, index: u64, command: &C, key: Option<&WrappedKey>) -> Result<Vec<u8>, Fault> {
        let body = self.store.seal_entry(ORG, key, &enveloped(index, command)).unwrap().unwrap();
        self.store.write(ORG, |store, writers| {
            let dispatched = dispatch(store, writers, index, AT, &body)?;
            writers.commit(store)?;
            Ok(dispatched.reply)
        })
    }

    /// An entry that says nothing but that it was there.
    fn pass(&self, index: u64, key: Option<&WrappedKey>) {
        self.apply(index, &PruneReplies { before: Millis(0), limit: 1 }, key).unwrap();
    }

    /// Content.
    fn group(&self, index: u64) {
        self.execute(
            index,
            &format!("INSERT INTO access_groups VALUES ('{index}', '{index}', '{{}}', 1, 1, 1)"),
        );
    }

    fn execute(&self, index: u64, sql: &str) {
        let execute = |store: &Store, writers: &mut Writers| {
            let writer = writers.begin(store, ORG, None)?.unwrap();
            writer.connection().execute_batch(sql)?;
            writer.advance(index, AT);
            writers.commit(store)
        };
        self.store.write(ORG, execute).unwrap();
    }

    fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.store.read(ORG, |tx| Ok(tx.query_row(&sql, [], |row| row.get(0))?)).unwrap().unwrap()
    }

    fn standing(&self) -> Standing {
        self.store.standing(ORG).unwrap().unwrap()
    }

    /// The leader's part.
    fn make(&self, then: &Self) -> Replacement {
        let made = self.store.make_replacement(
            Uuid::from_u128(7),
            ORG,
            (&then.store, ORG),
            |restored, present, left| prepare(restored, present, left, self.store.keyring(), (ORG, ORG)),
        );
        made.unwrap().0
    }

    /// A member's part.
    fn take(&self, from: &Self, replacement: &Replacement) {
        let to = self.store.begin_replacement(ORG, replacement.id).unwrap();
        fs::copy(from.store.replacement_path(ORG, replacement.id), to).unwrap();
        self.store.prove_replacement(replacement).unwrap();
    }
}

fn open(folder: &Path) -> Store {
    Store::open(folder, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&item.path(), &to);
        } else {
            fs::copy(item.path(), to).unwrap();
        }
    }
}

fn enveloped<C: Command>(index: u64, command: &C) -> Vec<u8> {
    let envelope = Envelope {
        kind: C::KIND.name.to_owned(),
        version: C::KIND.version,
        level: LEVEL,
        group: 0,
        organization: ORG,
        actor: Actor::System,
        request: RequestId(Uuid::from_u128(u128::from(index))),
        fingerprint: "f".repeat(64),
        salt: "00".repeat(32),
        origin: Origin::default(),
        body: to_raw_value(command).unwrap(),
        proved_at: None,
    };
    serde_json::to_vec(&envelope).unwrap()
}

fn replace(replacement: &Replacement) -> ReplaceContent {
    ReplaceContent {
        restore: Uuid::from_u128(8),
        replacement: replacement.clone(),
        organization: ORG,
        lineage: Uuid::from_u128(9),
        index: 3,
        moment: AT,
    }
}

/// A node as it stands at entry 6, and as it stood at entry 3; one group is of before, and one of after.
fn now_and_then() -> (Node, Node) {
    let now = Node::over(tempfile::tempdir().unwrap());
    let key = now.store.keyring().mint(ORG).unwrap();
    now.pass(1, Some(&key));
    now.group(2);
    now.pass(3, None);
    let (now, then) = now.twin();
    now.group(4);
    now.pass(5, None);
    now.pass(6, None);
    (now, then)
}

#[test]
fn content_goes_back_and_what_others_rely_on_stays() {
    let (now, then) = now_and_then();
    let replacement = now.make(&then);
    assert_eq!((replacement.standing.mark, replacement.key), (1, 1), "any entry comes after it");
    // What comes between is taken back, too.
    now.group(7);
    assert!(!now.apply(8, &replace(&replacement), None).unwrap().is_empty());
    assert_eq!((now.count("access_groups"), now.standing().mark), (1, 8));
    assert_eq!(now.count("spine_replies"), 5, "answers stay");
    assert_eq!((now.count("audit_events"), now.count("spine_outbox")), (1, 1));
    assert!(matches!(now.store.scrub(ORG, u64::MAX).unwrap(), Scrubbed::Sound { .. }));
    assert!(!now.store.replacement_path(ORG, replacement.id).exists(), "nothing is left");
    let before = now.standing();
    let now = now.restart();
    assert_eq!(now.standing(), before, "it is durable by itself");
    now.pass(9, None);
    // Applied again after a crash it changes nothing.
    assert!(now.apply(8, &replace(&replacement), None).unwrap().is_empty());
    assert_eq!(now.standing().mark, 9);
}

#[test]
fn answers_that_were_remembered_when_it_was_made_and_since_stay_and_those_forgotten_go() {
    let (now, then) = now_and_then();
    now.pass(7, None);
    let replacement = now.make(&then);
    now.pass(8, None);
    // The oldest of those that were there when it was made are forgotten meanwhile.
    now.apply(9, &PruneReplies { before: AT.plus(1), limit: 2 }, None).unwrap();
    assert!(!now.apply(10, &replace(&replacement), None).unwrap().is_empty());
    let requests = |tx: &Connection| {
        let mut statement = tx.prepare("SELECT hex(request) FROM spine_replies ORDER BY request")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        Ok(rows.map(|row| row.unwrap()).map(|hex| u64::from_str_radix(&hex[24..], 16).unwrap()).collect())
    };
    let kept: Vec<u64> = now.store.read(ORG, requests).unwrap().unwrap();
    assert_eq!(kept, [5, 6, 7, 8, 9, 10]);
    assert!(matches!(now.store.scrub(ORG, u64::MAX).unwrap(), Scrubbed::Sound { .. }));
}

#[test]
fn a_file_of_another_history_may_stand_at_a_later_index_than_this_one_has() {
    let (now, then) = now_and_then();
    then.pass(5_000, None);
    let replacement = now.make(&then);
    assert!(!now.apply(7, &replace(&replacement), None).unwrap().is_empty());
    assert_eq!((now.standing().mark, now.count("access_groups")), (7, 1));
    assert_eq!((now.count("audit_events"), now.count("spine_outbox")), (1, 1), "it is completed");
    now.pass(8, None);
    assert_eq!(now.standing().mark, 8);
}

#[test]
fn whoever_knows_a_later_key_already_opens_the_file_under_the_key_that_it_is_under() {
    let (now, then) = now_and_then();
    let replacement = now.make(&then);
    let body = now.store.seal_entry(ORG, None, &enveloped(7, &replace(&replacement))).unwrap().unwrap();
    let key = now.store.keyring().mint(ORG).unwrap();
    now.store.take_next_key(ORG, 9, 2, &key).unwrap();
    let applied = now.store.write(ORG, |store, writers| dispatch(store, writers, 7, AT, &body));
    assert!(!applied.unwrap().reply.is_empty());
    let now = now.restart();
    assert_eq!((now.standing().mark, now.count("access_groups")), (7, 1));
    assert_eq!(now.store.rekeying().len(), 1, "its pages are to come under the later key");
    now.store.reencrypt(ORG).unwrap();
    assert_eq!(now.restart().standing().mark, 7);
}

#[test]
fn a_code_that_was_used_since_stays_used() {
    let (now, then) = now_and_then();
    let person = "INSERT INTO identity_users (id, email, role, state, created_ms, updated_ms, version)
        VALUES ('u', 'u@x', 'admin', 'active', 1, 1, 1);
        INSERT INTO factors_totp (id, user_id, name, sealed, last_step, created_ms) VALUES ('t', 'u', 'x', x'00', ";
    let codes = |codes: &[&str]| {
        let code = |code: &&str| format!("INSERT INTO factors_recovery VALUES ('u', '{code}');");
        codes.iter().map(code).collect::<String>()
    };
    then.execute(4, &format!("{person} 5, 1); {}", codes(&["used", "left"])));
    now.execute(7, &format!("{person} 9, 1); {}", codes(&["left"])));
    let replacement = now.make(&then);
    now.execute(8, "UPDATE factors_totp SET last_step = 11; DELETE FROM factors_recovery");
    now.apply(9, &replace(&replacement), None).unwrap();
    let step =
        |tx: &Connection| Ok(tx.query_row("SELECT last_step FROM factors_totp", [], |row| row.get(0))?);
    assert_eq!(now.store.read::<i64>(ORG, step).unwrap().unwrap(), 11);
    assert_eq!(now.count("factors_recovery"), 0);
    assert!(matches!(now.store.scrub(ORG, u64::MAX).unwrap(), Scrubbed::Sound { .. }));
}

#[test]
fn a_change_that_is_cut_short_at_any_step_is_done_over_and_all_nodes_end_alike() {
    let mut ends = Vec::new();
    for step in 0..4 {
        let (now, then) = now_and_then();
        let (mut now, leader) = now.twin();
        let replacement = leader.make(&then);
        now.take(&leader, &replacement);
        let body = now.store.seal_entry(ORG, None, &enveloped(7, &replace(&replacement))).unwrap().unwrap();
        let cut = now.store.write(ORG, |store, writers| {
            if step == 1 {
                // Completed, and not committed.
                let mut restored = store.open_replacement(&replacement)?;
                let present = writers.begin(store, ORG, None)?.unwrap();
                complete(restored.connection(), present.connection())?;
                restored.advance(7, AT);
            }
            if step == 2 {
                // Nothing takes its place while the folder of the store cannot be written: no note of it is left.
                fs::create_dir(store.root().join("install.json")).unwrap();
            }
            if step > 1 {
                dispatch(store, writers, 7, AT, &body)?;
            }
            Ok(())
        });
        assert_eq!(cut.is_err(), step == 2, "step {step}");
        if step == 2 {
            fs::remove_dir(now.store.root().join("install.json")).unwrap();
            assert_eq!(now.store.mark(ORG), 6);
        }
        now = now.restart();
        let again = now.apply(7, &replace(&replacement), None).unwrap();
        assert_eq!(again.is_empty(), step == 3, "step {step}");
        assert!(matches!(now.store.scrub(ORG, u64::MAX).unwrap(), Scrubbed::Sound { .. }));
        assert_eq!(now.count("access_groups"), 1);
        // Sums of rows hold what is drawn at the edge: the same entry makes the same rows everywhere.
        ends.push((now.standing().mark, now.count("spine_replies"), now.count("audit_events")));
        leader.apply(7, &replace(&replacement), None).unwrap();
        assert_eq!(leader.standing(), now.standing(), "step {step}");
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn a_node_without_the_file_sets_its_own_aside_and_a_lone_one_halts() {
    let (now, then) = now_and_then();
    let (now, leader) = now.twin();
    let (leader, other) = leader.twin();
    let replacement = leader.make(&then);
    let fault = now.apply(7, &replace(&replacement), None).unwrap_err();
    assert!(fault.to_string().contains("is not on this node"), "{fault}");
    let now = now.restart();
    now.store.set_replicated(true).unwrap();
    assert_eq!(now.apply(7, &replace(&replacement), None).unwrap(), WITHHELD);
    assert_eq!(now.store.alarms()[&ORG].found, Found::Damaged);
    // Another file under its name is none of it either.
    other.take(&leader, &replacement);
    let wrong = Replacement { standing: Standing { mark: 3, ..replacement.standing }, ..replacement.clone() };
    assert!(other.store.prove_replacement(&wrong).is_err());
}
