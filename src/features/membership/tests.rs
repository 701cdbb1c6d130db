#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::to_raw_value;
use tempfile::TempDir;
use uuid::Uuid;

use super::{Bootstrap, MintToken, RaiseLevel, SpendToken, knows_token, level_row, secret};
use crate::{
    app::dispatch,
    cluster::{Command, Envelope, Outcome, Unanswered},
    features::{
        identity::NewUser,
        login::{OpenSession, model::Keys},
        sessions::NewSession,
    },
    kernel::{
        Actor, DAY_MS, Fault, Millis, OrgId, Origin, Refusal, RequestId, Role, SessionId, TokenId, UserId,
        from_hex,
    },
    store::{Keyring, LEVEL, Store, WrappedKey},
};

const ADMIN: UserId = UserId(Uuid::from_u128(0xad));
const AT: Millis = Millis(1_795_392_000_000);
const MINUTE: i64 = 60_000;

struct World {
    _folder: TempDir,
    store: Store,
    key: WrappedKey,
    index: u64,
    at: Millis,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap();
        let key = store.keyring().mint(OrgId::SYSTEM).unwrap();
        Self { _folder: folder, store, key, index: 0, at: AT }
    }

    /// A world whose cluster has begun.
    fn begun() -> Self {
        let mut world = Self::new();
        world.system(&bootstrap()).unwrap();
        world
    }

    fn apply<C: Command>(&mut self, actor: Actor, command: &C) -> Result<C::Reply, Refusal> {
        let reply = self.entry(actor, command, LEVEL).unwrap();
        let outcome: Outcome = serde_json::from_slice(&reply).unwrap();
        match outcome.answer(self.index) {
            Ok(answer) => Ok(answer.reply),
            Err(Unanswered::Refused { refusal, .. }) => Err(refusal),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The reply's bytes; a fault halts the node.
    fn entry<C: Command>(&mut self, actor: Actor, command: &C, level: u32) -> Result<Vec<u8>, Fault> {
        self.index += 1;
        let (index, at) = (self.index, self.at);
        let envelope = Envelope {
            kind: C::KIND.name.to_owned(),
            version: C::KIND.version,
            level,
            group: 1,
            organization: OrgId::SYSTEM,
            actor,
            request: RequestId(Uuid::from_u128(u128::from(index))),
            fingerprint: String::new(),
            salt: "00".repeat(32),
            origin: Origin::default(),
            body: to_raw_value(command).unwrap(),
            proved_at: None,
        };
        let plain = serde_json::to_vec(&envelope).unwrap();
        let body = self.store.seal_entry(OrgId::SYSTEM, Some(&self.key), &plain).unwrap().unwrap();
        self.store.write(OrgId::SYSTEM, |store, writers| {
            let dispatched = dispatch(store, writers, index, at, &body)?;
            writers.commit(store)?;
            Ok(dispatched.reply)
        })
    }

    fn system<C: Command>(&mut self, command: &C) -> Result<C::Reply, Refusal> {
        self.apply(Actor::System, command)
    }

    fn mint(&mut self, number: u8, expires: Millis) -> Result<String, Refusal> {
        let id = TokenId(Uuid::from_u128(u128::from(number)));
        let command = MintToken { id, digest: digest(number), expires_ms: expires.0 };
        let session = SessionId(Uuid::from_u128(u128::from(number)));
        self.log_in(session);
        self.apply(Actor::Platform { user: ADMIN, session: Some(session) }, &command)
    }

    /// The administrator proves who it is, as minting asks for it.
    fn log_in(&mut self, id: SessionId) {
        let (amr, refresh, sealed) = (vec!["pwd".to_owned()], "aa".repeat(32), String::new());
        let session = NewSession { id, user: ADMIN, amr, refresh, sealed };
        let [pair, source, account] = ["pair", "source", "account"].map(str::to_owned);
        let keys = Keys { pair, source, account, names: Vec::new() };
        self.system(&OpenSession { session, keys, proof: None }).unwrap();
    }

    fn spend(&mut self, number: u8) -> Result<(), Refusal> {
        self.system(&SpendToken { digest: digest(number), node: 2 })
    }

    fn knows(&self, number: u8) -> bool {
        let digest = from_hex(&digest(number)).unwrap();
        self.store.read(OrgId::SYSTEM, |tx| knows_token(tx, &digest)).unwrap().unwrap()
    }
}

fn bootstrap() -> Bootstrap {
    let admin = NewUser {
        id: ADMIN,
        email: "admin@localhost".to_owned(),
        username: None,
        first_name: String::new(),
        last_name: String::new(),
        role: Role::PlatformAdmin,
        password_hash: Some("$argon2id$…".to_owned()),
    };
    let secrets = BTreeMap::from([("signing".to_owned(), "c0ffee".to_owned())]);
    Bootstrap { admin, secrets, version: None, signing_key: None }
}

fn digest(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

#[test]
fn a_cluster_begins_once_with_its_secrets_and_its_administrator() {
    let mut world = World::begun();
    let sealed = world.store.read(OrgId::SYSTEM, |tx| secret(tx, "signing")).unwrap().unwrap();
    assert_eq!(sealed, Some(vec![0xc0, 0xff, 0xee]));
    assert!(world.mint(1, AT.plus(MINUTE)).is_ok(), "the administrator may mint");
    assert_eq!(world.system(&bootstrap()), Err(Refusal::WrongState { state: "begun".to_owned() }));
}

#[test]
fn nobody_but_the_installation_begins_a_cluster_or_spends_a_token() {
    let mut world = World::begun();
    let admin = Actor::Platform { user: ADMIN, session: None };
    let denied = |outcome| matches!(outcome, Err(Refusal::PermissionDenied { .. }));
    assert!(denied(world.apply(admin.clone(), &bootstrap())));
    assert!(denied(world.apply(admin, &SpendToken { digest: digest(1), node: 2 })));
}

#[test]
fn nobody_but_a_platform_administrator_mints() {
    let mut world = World::begun();
    let command =
        MintToken { id: TokenId(Uuid::from_u128(1)), digest: digest(1), expires_ms: AT.plus(MINUTE).0 };
    let strange = Actor::Platform { user: UserId(Uuid::from_u128(7)), session: None };
    let organization = OrgId(Uuid::from_u128(8));
    let user = Actor::User { organization, user: ADMIN, role: Role::Admin, session: None };
    for actor in [Actor::Anonymous, strange, user] {
        assert_eq!(world.apply(actor, &command), Err(Refusal::NotFound));
    }
    assert!(!world.knows(1));
}

#[test]
fn a_token_admits_once() {
    let mut world = World::begun();
    assert_eq!(world.mint(1, AT.plus(MINUTE)), Ok(digest(1)));
    assert_eq!(world.spend(1), Ok(()));
    assert_eq!(world.spend(1), Err(Refusal::Unauthenticated));
}

#[test]
fn unknown_and_expired_tokens_look_like_spent_ones() {
    let mut world = World::begun();
    world.mint(1, AT.plus(MINUTE)).unwrap();
    world.at = AT.plus(MINUTE);
    assert_eq!(world.spend(1), Err(Refusal::Unauthenticated));
    assert_eq!(world.spend(2), Err(Refusal::Unauthenticated));
}

#[test]
fn tokens_that_ended_long_ago_are_forgotten_when_a_new_one_comes() {
    let mut world = World::begun();
    world.mint(1, AT.plus(MINUTE)).unwrap();
    world.at = AT.plus(DAY_MS);
    world.mint(2, AT.plus(2 * DAY_MS)).unwrap();
    assert!(world.knows(1) && world.knows(2));
    world.at = AT.plus(DAY_MS + 2 * MINUTE);
    world.mint(3, AT.plus(2 * DAY_MS)).unwrap();
    assert!(!world.knows(1) && world.knows(2));
}

#[test]
fn the_level_a_cluster_begins_at_is_in_force_and_is_said_with_the_version_it_needs() {
    let mut world = World::new();
    assert_eq!(world.store.level(), 0, "nothing is in force before the cluster's data is here");
    world.system(&Bootstrap { version: Some("0.1.0".to_owned()), ..bootstrap() }).unwrap();
    assert_eq!(world.store.level(), LEVEL);
    let row = world.store.read(OrgId::SYSTEM, |tx| level_row(tx, LEVEL)).unwrap().flatten().unwrap();
    assert_eq!((row.version.as_str(), row.raised, row.raised_by.as_str()), ("0.1.0", AT, "system"));
}

#[test]
fn a_level_this_binary_does_not_know_halts_it_whoever_brings_it() {
    let mut world = World::begun();
    let admin = || Actor::Platform { user: ADMIN, session: None };
    let halted = |outcome: Result<Vec<u8>, Fault>| outcome.unwrap_err().to_string();
    let raise = RaiseLevel { level: LEVEL + 1, version: "9.9.9".to_owned() };
    let text = halted(world.entry(admin(), &raise, LEVEL));
    assert!(text.contains("upgrade this node's binary to version 9.9.9 or newer"), "{text}");
    assert_eq!(world.store.level(), LEVEL);
    // An entry that another node stamped with it; and the same level only said to the wrong person.
    let text = halted(world.entry(Actor::System, &SpendToken { digest: digest(1), node: 2 }, LEVEL + 1));
    assert!(text.contains("upgrade this node's binary to a newer version"), "{text}");
    assert_eq!(world.apply(Actor::Anonymous, &raise), Err(Refusal::NotFound));
}
