//! Lists on a real file, with real rules: that they search indexes, and that they show what the engine allows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

mod agreement;
mod dice;
mod plans;

use std::sync::Arc;

use rusqlite::Connection;
use serde_json::value::to_raw_value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    app::dispatch,
    cluster::{Command, Envelope, Outcome, Unanswered},
    features::access::{self, Compiled},
    kernel::{Actor, Fault, Millis, OrgId, Origin, Refusal, RequestId, Role, SessionId, UserId},
    store::{Keyring, LEVEL, Store},
};

const ORG: OrgId = OrgId(Uuid::from_u128(0xa1));
const AT: Millis = Millis(1_795_429_800_000);
/// The administrator, and two users of each lower role.
const ROLES: [Role; 7] = [
    Role::Admin,
    Role::Analyst,
    Role::Analyst,
    Role::SeniorAnalyst,
    Role::SeniorAnalyst,
    Role::TeamLead,
    Role::TeamLead,
];

/// An organization's file with its users.
struct World {
    _folder: TempDir,
    store: Store,
    index: u64,
}

fn user(number: usize) -> UserId {
    UserId(Uuid::from_u128(0xb1 + number as u128))
}

fn actor(number: usize) -> Actor {
    let session = Some(SessionId(user(number).0));
    Actor::User { organization: ORG, user: user(number), role: ROLES[number], session }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap();
        let key = store.keyring().mint(ORG).unwrap();
        let made = store.write(ORG, |store, writers| {
            let writer = writers.begin(store, ORG, Some((1, &key)))?.unwrap();
            writer.raise(ORG, LEVEL)?;
            writer.connection().execute(PROFILE, [ORG.to_string()]).unwrap();
            for (number, role) in ROLES.iter().enumerate() {
                let row = (user(number).to_string(), format!("u{number}@acme.example"), role.name());
                writer.connection().execute(MEMBER, row).unwrap();
                // Who sets rules must have proven who they are a short while ago.
                writer.connection().execute(SESSION, (user(number).to_string(), AT.0)).unwrap();
            }
            writer.advance(1, AT);
            writers.commit(store)
        });
        made.unwrap();
        Self { _folder: folder, store, index: 1 }
    }

    /// What a command answers to one of the users.
    fn by<C: Command>(&mut self, number: usize, command: &C) -> Result<C::Reply, Refusal> {
        self.index += 1;
        let index = self.index;
        let envelope = Envelope {
            kind: C::KIND.name.to_owned(),
            version: C::KIND.version,
            level: LEVEL,
            group: 0,
            organization: ORG,
            actor: actor(number),
            request: RequestId(Uuid::from_u128(u128::from(index))),
            fingerprint: String::new(),
            salt: "00".repeat(32),
            origin: Origin::default(),
            body: to_raw_value(command).unwrap(),
            proved_at: None,
        };
        let plain = serde_json::to_vec(&envelope).unwrap();
        let body = self.store.seal_entry(ORG, None, &plain).unwrap().unwrap();
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

    /// Changes rows as no command does.
    fn execute(&mut self, sql: &str) {
        self.index += 1;
        let index = self.index;
        let done = self.store.write(ORG, |store, writers| {
            let writer = writers.begin(store, ORG, None)?.unwrap();
            writer.connection().execute_batch(sql).unwrap();
            writer.advance(index, AT);
            writers.commit(store)
        });
        done.unwrap();
    }

    fn read<T>(&self, queries: impl FnOnce(&Connection) -> Result<T, Fault>) -> T {
        self.store.read(ORG, queries).unwrap().unwrap()
    }

    fn rights(&self, number: usize) -> Compiled {
        self.read(|tx| access::compiled(tx, ORG, &actor(number)))
    }
}

const PROFILE: &str = "INSERT INTO organizations_profile
    (one, id, slug, domain, plan, status, region, details, created_ms, updated_ms, version)
    VALUES (1, ?1, 'acme', 'acme.example', 'enterprise', 'active', 'us-east-1', '{}', 0, 0, 1)";
const SESSION: &str = "INSERT INTO sessions_open
    (id, user_id, created_ms, auth_ms, seen_ms, amr, refresh, rotated_ms)
    VALUES (?1, ?1, ?2, ?2, ?2, 'pwd', x'00', ?2)";
const MEMBER: &str = "INSERT INTO identity_users (id, email, role, state, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, 'active', 0, 0, 1)";
