//! Imports through the real dispatcher, on a real file; and the plans of every list.

use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;

use super::{
    BeginImport, ImportChunk, StopImport,
    model::{Import, ImportState, Object, Tally, cut, parse},
    queries::{self, Filter},
};
use crate::{
    app::dispatch,
    cluster::{Command, Envelope, Outcome, Unanswered},
    features::quotas::{self, Resource},
    kernel::{Actor, JobId, Millis, OrgId, Origin, Refusal, RequestId, Role, UserId, Window},
    store::{Keyring, LEVEL, Store},
};

const ORG: OrgId = OrgId(uuid::Uuid::from_u128(0xa1));
const USER: UserId = UserId(uuid::Uuid::from_u128(0xb1));
const AT: Millis = Millis(1_795_392_000_000);

struct World {
    _folder: TempDir,
    store: Store,
    index: u64,
}

impl World {
    fn new(plan: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap();
        let key = store.keyring().mint(ORG).unwrap();
        store
            .write(ORG, |store, writers| {
                let writer = writers.begin(store, ORG, Some((1, &key)))?.unwrap();
                writer.raise(ORG, LEVEL)?;
                writer.connection().execute(PROFILE, (ORG.to_string(), plan)).unwrap();
                writer.connection().execute(ANALYST, [USER.to_string()]).unwrap();
                writer.advance(1, AT);
                writers.commit(store)
            })
            .unwrap();
        Self { _folder: folder, store, index: 1 }
    }

    fn apply<C: Command>(&mut self, actor: Actor, command: &C) -> Result<C::Reply, Refusal> {
        self.index += 1;
        let envelope = Envelope {
            kind: C::KIND.name.to_owned(),
            version: C::KIND.version,
            level: LEVEL,
            group: 0,
            organization: ORG,
            actor,
            request: RequestId(uuid::Uuid::from_u128(u128::from(self.index))),
            fingerprint: String::new(),
            salt: "00".repeat(32),
            origin: Origin::default(),
            body: to_raw_value(command).unwrap(),
            proved_at: None,
        };
        let plain = serde_json::to_vec(&envelope).unwrap();
        let body = self.store.seal_entry(ORG, None, &plain).unwrap().unwrap();
        let index = self.index;
        let reply = self.store.write(ORG, |store, writers| {
            let dispatched = dispatch(store, writers, index, AT, &body)?;
            writers.commit(store)?;
            Ok(dispatched.reply)
        });
        let outcome: Outcome = serde_json::from_slice(&reply.unwrap()).unwrap();
        match outcome.answer(index) {
            Ok(answer) => Ok(answer.reply),
            Err(Unanswered::Refused { refusal, .. }) => Err(refusal),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn by_user<C: Command>(&mut self, command: &C) -> Result<C::Reply, Refusal> {
        self.apply(Actor::User { organization: ORG, user: USER, role: Role::Analyst, session: None }, command)
    }

    fn begin(&mut self, digest: &str, objects: &[Object]) -> Import {
        let command = BeginImport {
            id: JobId(uuid::Uuid::from_u128(u128::from(self.index))),
            digest: digest.to_owned(),
            bundle_id: "bundle--x".to_owned(),
            total: i64::try_from(objects.len()).unwrap(),
        };
        self.by_user(&command).unwrap()
    }

    fn chunk(&mut self, job: &Import, from: i64, objects: &[Object]) -> Result<Import, Refusal> {
        self.by_user(&ImportChunk { job: job.id, from, objects: objects.to_vec() })
    }

    /// All of it at once.
    fn import(&mut self, digest: &str, objects: &[Object]) -> Result<Import, Refusal> {
        let mut job = self.begin(digest, objects);
        while job.state != ImportState::Done {
            let from = usize::try_from(job.seen).unwrap();
            job = self.chunk(&job.clone(), job.seen, cut(objects, from))?;
        }
        Ok(job)
    }

    fn read<T>(&self, queries: impl FnOnce(&Connection) -> T) -> T {
        self.store.read(ORG, |tx| Ok(queries(tx))).unwrap().unwrap()
    }

    fn used(&self, resource: Resource) -> i64 {
        self.read(|tx| quotas::allowance(tx, resource, AT).unwrap().used())
    }

    fn export(&self) -> Vec<String> {
        self.read(|tx| queries::export(tx, None, 0, i64::MAX).unwrap().bodies)
    }

    fn list(&self, filter: &Filter, limit: u32) -> Vec<String> {
        let (mut window, mut found) = (Window { limit, after: None }, Vec::new());
        loop {
            let page = self.read(|tx| queries::list(tx, filter, &window).unwrap().unwrap());
            assert!(page.rows.len() <= limit as usize);
            found.extend(page.rows.into_iter().map(|row| name_of(&row.body)));
            let Some(next) = page.next else { return found };
            window.after = Some(next);
        }
    }
}

fn name_of(body: &str) -> String {
    let object: Value = serde_json::from_str(body).unwrap();
    object["name"].as_str().or(object["relationship_type"].as_str()).unwrap().to_owned()
}

fn example() -> Vec<Object> {
    parse(include_bytes!("../../../examples/bundle.json")).unwrap().objects
}

fn objects(list: &Value) -> Vec<Object> {
    let body = json!({ "type": "bundle", "id": format!("bundle--{}", ORG.0), "objects": list }).to_string();
    parse(body.as_bytes()).unwrap().objects
}

fn version(kind: &str, number: u128, modified: &str, name: &str) -> Value {
    let id = uuid::Uuid::from_u128(number);
    json!({ "type": kind, "id": format!("{kind}--{id}"), "created": "2026-01-01T00:00:00Z", "modified": modified,
        "name": name })
}

fn many(kind: &str, count: u128) -> Vec<Object> {
    let list =
        (1..=count).map(|number| version(kind, number, "2026-01-01T00:00:00Z", &format!("n{number:04}")));
    objects(&list.collect())
}

#[test]
fn an_import_stores_counts_and_exports_what_came() {
    let mut world = World::new("enterprise");
    let bundle = example();
    let done = world.import("d1", &bundle).unwrap();
    assert_eq!((done.state, done.seen, done.tally.added), (ImportState::Done, 12, 12));
    assert_eq!(world.export(), bundle.iter().map(|object| object.body.get().to_owned()).collect::<Vec<_>>());
    let used =
        [Resource::MaxIocsPerMonth, Resource::MaxThreatActors, Resource::MaxCampaigns].map(|r| world.used(r));
    assert_eq!(used, [3, 2, 1]);
    let bytes: usize = bundle.iter().map(Object::bytes).sum();
    assert_eq!(world.used(Resource::MaxStorageGb), i64::try_from(bytes).unwrap());
    assert_eq!(
        world.read(|tx| crate::features::audit::verify_chain(tx).unwrap().map(|trail| trail.events)),
        Ok(2)
    );
}

#[test]
fn the_same_bundle_again_finds_its_import_and_another_body_of_it_changes_nothing() {
    let mut world = World::new("enterprise");
    let done = world.import("d1", &example()).unwrap();
    assert_eq!(world.begin("d1", &example()), done);
    let again = world.import("d2", &example()).unwrap();
    assert_eq!(again.tally, Tally { added: 0, updated: 0, unchanged: 12 });
    assert_eq!((world.export().len(), world.used(Resource::MaxIocsPerMonth)), (12, 3));
}

#[test]
fn a_chunk_is_applied_once_and_only_where_the_import_stands() {
    let mut world = World::new("enterprise");
    let bundle = example();
    let job = world.begin("d1", &bundle);
    let first = world.chunk(&job, 0, &bundle[..5]).unwrap();
    assert_eq!(world.chunk(&job, 0, &bundle[..5]).unwrap(), first);
    assert_eq!(first.seen, 5);
    assert!(matches!(world.chunk(&job, 7, &bundle[7..]), Err(Refusal::WrongState { .. })));
    let too_many = [&bundle[5..], &bundle[..1]].concat();
    assert!(matches!(world.chunk(&job, 5, &too_many), Err(Refusal::WrongState { .. })));
    assert_eq!(world.chunk(&job, 5, &bundle[5..]).unwrap().state, ImportState::Done);
    assert_eq!(world.export().len(), 12);
}

#[test]
fn a_chunk_past_the_quota_leaves_nothing_and_the_import_resumes_when_there_is_room() {
    let mut world = World::new("free");
    let bundle = many("campaign", 25);
    let job = world.begin("d1", &bundle);
    let after = world.chunk(&job, 0, &bundle[..15]).unwrap();
    let refusal = world.chunk(&job, 15, &bundle[15..]).unwrap_err();
    assert!(matches!(&refusal, Refusal::QuotaExceeded { quota: 20, requested: 10, .. }), "{refusal:?}");
    assert_eq!((world.used(Resource::MaxCampaigns), world.export().len()), (15, 15));
    let stopped =
        world.apply(Actor::System, &StopImport { job: job.id, seen: 15, reason: refusal.clone() }).unwrap();
    assert_eq!(
        (stopped.state, stopped.reason, stopped.seen),
        (ImportState::Stopped, Some(refusal), after.seen)
    );
    world
        .store
        .write(ORG, |store, writers| {
            let writer = writers.begin(store, ORG, None)?.unwrap();
            writer.connection().execute("UPDATE organizations_profile SET plan = 'starter'", []).unwrap();
            world.index += 1;
            writer.advance(world.index, AT);
            writers.commit(store)
        })
        .unwrap();
    assert_eq!(world.begin("d1", &bundle).state, ImportState::Running);
    assert_eq!(world.chunk(&job, 15, &bundle[15..]).unwrap().state, ImportState::Done);
    assert_eq!(world.used(Resource::MaxCampaigns), 25);
}

#[test]
fn a_late_stop_does_not_hold_an_import_that_went_on_and_nobody_else_may_stop() {
    let mut world = World::new("enterprise");
    let bundle = example();
    let job = world.begin("d1", &bundle);
    world.chunk(&job, 0, &bundle[..5]).unwrap();
    let stop = StopImport { job: job.id, seen: 0, reason: Refusal::NotFound };
    assert_eq!(world.apply(Actor::System, &stop).unwrap().state, ImportState::Running);
    assert!(matches!(world.by_user(&stop), Err(Refusal::PermissionDenied { .. })));
}

#[test]
fn a_newer_version_becomes_the_latest_an_older_one_does_not_and_both_are_exported() {
    let mut world = World::new("enterprise");
    for (digest, modified, name) in [
        ("d1", "2026-02-01T00:00:00Z", "second"),
        ("d2", "2026-01-01T00:00:00.000Z", "first"),
        ("d3", "2026-03-01T00:00:00Z", "third"),
    ] {
        world.import(digest, &objects(&json!([version("indicator", 1, modified, name)]))).unwrap();
    }
    assert_eq!(world.list(&Filter::default(), 50), ["third"]);
    let names: Vec<String> = world.export().iter().map(|body| name_of(body)).collect();
    assert_eq!(names, ["second", "first", "third"]);
    assert_eq!(world.used(Resource::MaxIocsPerMonth), 1);
    let id = format!("indicator--{}", uuid::Uuid::from_u128(1));
    let found = |version: Option<&str>| world.read(|tx| queries::find(tx, &id, version).unwrap());
    assert_eq!(found(None).map(|body| name_of(&body)).as_deref(), Some("third"));
    assert_eq!(found(Some("2026-02-01T00:00:00Z")).map(|body| name_of(&body)).as_deref(), Some("second"));
    assert_eq!(found(Some("2027-01-01T00:00:00Z")), None);
}

#[test]
fn a_version_with_other_content_is_a_conflict_and_with_its_keys_in_another_order_is_not() {
    let mut world = World::new("enterprise");
    let when = "2026-01-01T00:00:00Z";
    world.import("d1", &objects(&json!([version("malware", 1, when, "one")]))).unwrap();
    let other = objects(&json!([version("malware", 2, when, "new"), version("malware", 1, when, "other")]));
    assert!(matches!(world.import("d2", &other), Err(Refusal::ObjectConflict { .. })));
    assert_eq!(world.export().len(), 1);
    let early = world.read(|tx| queries::survey(tx, &other, AT).unwrap());
    assert!(matches!(early, Err(Refusal::ObjectConflict { .. })));

    let id = uuid::Uuid::from_u128(1);
    let turned = format!(
        r#"{{"type":"bundle","id":"bundle--{id}","objects":[{{"name":"one","modified":"{when}","type":"malware",
        "created":"{when}","id":"malware--{id}"}}]}}"#
    );
    let turned = parse(turned.as_bytes()).unwrap().objects;
    assert_eq!(world.import("d3", &turned).unwrap().tally.unchanged, 1);
}

#[test]
fn the_edge_refuses_early_what_apply_would_refuse() {
    let world = World::new("free");
    let refused = |bundle: &[Object]| world.read(|tx| queries::survey(tx, bundle, AT).unwrap());
    assert!(refused(&many("campaign", 20)).is_ok());
    assert!(matches!(refused(&many("campaign", 21)), Err(Refusal::QuotaExceeded { requested: 21, .. })));
    assert!(matches!(refused(&many("intrusion-set", 51)), Err(Refusal::QuotaExceeded { quota: 50, .. })));
    let two = objects(&json!([
        version("campaign", 1, "2026-01-01T00:00:00Z", "a"),
        version("campaign", 1, "2026-01-02T00:00:00Z", "b"),
    ]));
    assert!(refused(&two).is_ok());
}

#[test]
fn lists_page_in_the_order_of_their_index() {
    let mut world = World::new("enterprise");
    world.import("d1", &example()).unwrap();
    world.import("d2", &many("tool", 30)).unwrap();
    let of = |text: &str| Some(text.to_owned());
    for limit in [1, 7, 50] {
        assert_eq!(world.list(&Filter { kind: of("tool"), ..Filter::default() }, limit).len(), 30);
        assert_eq!(world.list(&Filter { name_prefix: of("n001"), ..Filter::default() }, limit).len(), 10);
        assert_eq!(
            world.list(&Filter { name_prefix: of("Tide"), ..Filter::default() }, limit),
            ["Tide Lantern", "Tide Lantern control server", "Tide Lantern look-alike domain"]
        );
        let after = Filter { modified_after: Millis::parse("2026-03-04T12:30:00Z"), ..Filter::default() };
        assert_eq!(world.list(&after, limit), ["attributed-to", "uses", "Tide Lantern look-alike domain"]);
        assert_eq!(world.list(&Filter::default(), limit).len(), 42);
    }
    assert!(world.list(&Filter { name_prefix: of("tide"), ..Filter::default() }, 50).is_empty());
    let technique = Filter { external_id: of("T1059"), ..Filter::default() };
    assert_eq!(world.list(&technique, 50), ["Command shell by forged customs form"]);
    let last = char::MAX.to_string();
    assert!(world.list(&Filter { name_prefix: Some(last), ..Filter::default() }, 50).is_empty());
    let foreign = Window { limit: 5, after: of("3:") };
    let named = Filter { modified_after: Some(AT), ..Filter::default() };
    assert!(world.read(|tx| queries::list(tx, &named, &foreign).unwrap().is_none()));
}

#[test]
fn every_list_searches_an_index_and_sorts_nothing() {
    let world = World::new("enterprise");
    for (path, index) in [
        (queries::Path::Id, "intel_objects_latest (id=? AND rowid>?)"),
        (queries::Path::External, "intel_objects_by_external (external_id=? AND seq>?)"),
        (queries::Path::Name, "intel_objects_by_name (name"),
        (queries::Path::Modified, "intel_objects_by_modified (modified_ms"),
        (queries::Path::Kind, "intel_objects_by_type (type=? AND seq>?)"),
        (queries::Path::Whole, "INTEGER PRIMARY KEY (rowid>?)"),
    ] {
        let plan = world.read(|tx| queries::plan_of(tx, path).unwrap());
        assert!(
            plan.contains("SEARCH") && plan.contains(index) && !plan.contains("B-TREE"),
            "{path:?}: {plan}"
        );
    }
}

const PROFILE: &str = "INSERT INTO organizations_profile
    (one, id, slug, domain, plan, status, region, details, created_ms, updated_ms, version)
    VALUES (1, ?1, 'acme', 'acme.example', ?2, 'active', 'us-east-1', '{}', 0, 0, 1)";
const ANALYST: &str = "INSERT INTO identity_users
    (id, email, role, state, created_ms, updated_ms, version)
    VALUES (?1, 'ann@acme.example', 'analyst', 'active', 0, 0, 1)";
