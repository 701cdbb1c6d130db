//! One node's files, driven entry by entry through the real dispatcher, with fixed ids and stamps.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::Connection;
use serde_json::{Value, json, value::RawValue};
use tempfile::TempDir;
use threatflow::{
    app::{commands::COMMANDS, dispatch},
    cluster::{Envelope, Outcome, pending},
    features::{
        audit::verify_chain,
        quotas::{Plan, Resource},
    },
    kernel::{Actor, Millis, OrgId, Origin, Refusal, RequestId, Role, SessionId, UserId},
    store::{Keyring, LEVEL, Scrubbed, Store, WrappedKey},
};
use uuid::Uuid;

use super::{ids::Ids, page::Ask};

/// 2026-11-23T00:00:00Z, when the files are set up.
const START_MS: i64 = 1_795_392_000_000;
/// 01:00:00 of that day, when scripts begin.
const BEGIN_MS: i64 = START_MS + 3_600_000;

/// Kinds that belong in the system file.
const OF_SYSTEM: &[&str] = &[
    "organizations.register",
    "organizations.project",
    "organizations.erase",
    "membership.",
    "keys.",
    "login.project_domain",
    "login.unproject_domain",
    "sessions.rotate_keys",
    "sessions.advance_keys",
    "sessions.reseal_keys",
];

pub(super) struct World {
    _folder: TempDir,
    store: Store,
    ids: Ids,
    at: i64,
    index: u64,
    /// The last event of each file that a script has seen.
    seen: BTreeMap<OrgId, i64>,
}

/// An entry before it has an index and a stamp.
struct Proposal<'a> {
    file: OrgId,
    actor: Actor,
    request: Uuid,
    fingerprint: String,
    create: Option<WrappedKey>,
    kind: &'a str,
    body: String,
    proved_at: Option<Millis>,
}

impl World {
    pub(super) fn new(given: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::from_raw(vec![1; 32]).unwrap());
        let store = Store::open(folder.path(), keyring).unwrap();
        let mut world =
            Self { _folder: folder, store, ids: Ids::new(), at: START_MS, index: 0, seen: BTreeMap::new() };
        world.found(given);
        world.at = BEGIN_MS;
        for at in (0..given.len()).filter(|at| given[*at] == "session") {
            world.log_in(&given[at + 1]);
            world.at = BEGIN_MS;
        }
        world.forget_the_beginning();
        world
    }

    /// A cluster, and the organization `acme` with an administrator, an analyst and a parent.
    fn found(&mut self, given: &[String]) {
        let value_of =
            |name: &str| given.iter().position(|word| word == name).and_then(|at| given.get(at + 1));
        let platform = user(&mut self.ids, "platform", "platform_admin");
        if value_of("cluster").is_none_or(|state| state != "none") {
            let begin = json!({ "admin": platform, "secrets": { "peer-ca": "00" } });
            self.set_up(OrgId::SYSTEM, true, "membership.bootstrap", &begin);
        }
        let plan = value_of("plan").map_or("free", String::as_str);
        let acme = OrgId(self.ids.of("acme"));
        if plan != "none" {
            let organization = organization(&mut self.ids, "acme", None, plan.parse().unwrap());
            let admin = user(&mut self.ids, "admin", "admin");
            let body =
                json!({ "organization": organization, "ancestors": [self.ids.of("parent")], "admin": admin });
            self.set_up(acme, true, "organizations.provision", &body);
        }
        let users = value_of("users").map_or(2, |users| users.parse().unwrap());
        for number in 2..=users {
            let name = if number == 2 { "analyst".to_owned() } else { format!("analyst-{number}") };
            let body = json!({ "user": user(&mut self.ids, &name, "analyst") });
            self.set_up(acme, false, "identity.create_user", &body);
        }
        for at in (0..given.len()).filter(|at| given[*at] == "usage") {
            self.use_up(acme, &given[at + 1], given[at + 2].parse().unwrap());
        }
        let tree = given.iter().skip_while(|word| *word != "tree").skip(1);
        let mut parent = None;
        for slug in tree {
            let organization = organization(&mut self.ids, slug, parent, plan.parse().unwrap_or(Plan::Free));
            self.set_up(
                OrgId::SYSTEM,
                false,
                "organizations.register",
                &json!({ "organization": organization, "key": "00" }),
            );
            parent = Some(slug.as_str());
        }
    }

    /// `admin@desk`: a session that has just been opened with a password.
    fn log_in(&mut self, who: &str) {
        let (name, session) = who.split_once('@').unwrap();
        let file = OrgId(self.ids.of(if name == "platform" { "system" } else { "acme" }));
        let session = json!({ "id": self.ids.of(session), "user": self.ids.of(name), "amr": ["pwd"],
            "refresh": "aa".repeat(32), "sealed": "00" });
        let keys = json!({ "pair": "p0", "source": "s0", "account": "a0" });
        let body = json!({ "session": session, "keys": keys });
        self.set_up(file, false, "login.open_session", &body);
    }

    fn set_up(&mut self, file: OrgId, create: bool, kind: &str, body: &Value) {
        let create = create.then(|| self.store.keyring().mint(file).unwrap());
        let request = Uuid::from_u128(u128::from(self.index) << 64 | 1);
        let (actor, body) = (Actor::System, body.to_string());
        let outcome = self.apply(Proposal {
            file,
            actor,
            request,
            fingerprint: String::new(),
            create,
            kind,
            body,
            proved_at: None,
        });
        assert!(outcome.refusal().is_none(), "{kind}: {outcome:?}");
    }

    fn use_up(&mut self, file: OrgId, name: &str, amount: i64) {
        let resource = Resource::parse(name).unwrap_or_else(|| panic!("{name} is no quota"));
        let period = resource.period(Millis(START_MS)).0;
        self.write(file, USE_UP, (resource.name(), period, amount));
    }

    /// Scripts begin with an empty outbox, no remembered replies, and a trail of which they have seen all.
    fn forget_the_beginning(&mut self) {
        for file in self.store.list() {
            self.write(file, "DELETE FROM spine_outbox", ());
            self.write(file, "DELETE FROM spine_replies", ());
            self.events(file);
        }
    }

    fn write(&mut self, file: OrgId, sql: &str, values: impl rusqlite::Params) {
        let change = |store: &Store, writers: &mut threatflow::store::Writers| {
            let writer = writers.begin(store, file, None)?.unwrap();
            writer.connection().execute(sql, values).unwrap();
            writers.commit(store)
        };
        self.store.write(file, change).unwrap();
    }

    fn read<T>(&self, file: OrgId, queries: impl FnOnce(&Connection) -> T) -> Option<T> {
        self.store.read(file, |tx| Ok(queries(tx))).unwrap()
    }

    fn apply(&mut self, proposal: Proposal<'_>) -> Outcome {
        self.index += 1;
        self.at += 1_000;
        let listed = COMMANDS.iter().filter(|entry| entry.kind.name == proposal.kind);
        let version = listed.map(|entry| entry.kind.version).max();
        let envelope = Envelope {
            kind: proposal.kind.to_owned(),
            version: version.unwrap_or_else(|| panic!("{} is no kind", proposal.kind)),
            level: LEVEL,
            group: 0,
            organization: proposal.file,
            actor: proposal.actor,
            request: RequestId(proposal.request),
            fingerprint: proposal.fingerprint,
            salt: format!("{:064x}", self.index),
            origin: Origin::default(),
            body: RawValue::from_string(proposal.body.clone())
                .unwrap_or_else(|error| panic!("{error}: {}", proposal.body)),
            proved_at: proposal.proved_at,
        };
        let (index, at, plain) = (self.index, Millis(self.at), serde_json::to_vec(&envelope).unwrap());
        let sealed = self.store.seal_entry(proposal.file, proposal.create.as_ref(), &plain).unwrap();
        let Some(entry) = sealed else { return Outcome::refused(Refusal::NotFound) };
        let reply = self.store.write(proposal.file, |store, writers| {
            let dispatched = dispatch(store, writers, index, at, &entry)?;
            writers.commit(store)?;
            Ok(dispatched.reply)
        });
        let reply = reply.unwrap_or_else(|fault| panic!("{}: {fault}", proposal.body));
        serde_json::from_slice(&reply).unwrap()
    }

    pub(super) fn wait(&mut self, ms: i64) -> Vec<String> {
        self.at += ms;
        Vec::new()
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> Vec<String> {
        let system = OF_SYSTEM.iter().any(|kind| ask.kind.starts_with(kind));
        let place = ask.file.clone().unwrap_or_else(|| if system { "system" } else { "acme" }.to_owned());
        let keyring = self.store.keyring();
        let body = self.ids.fill(&ask.body, |file| keyring.mint(OrgId(file)).unwrap().0);
        let file = OrgId(self.ids.of(&place));
        let request = match &ask.request {
            Some(name) => self.ids.of(name),
            None => Uuid::from_u128(u128::from(self.index) << 64 | 2),
        };
        let creates = ask.kind == "membership.bootstrap";
        let create = creates.then(|| keyring.mint(file).unwrap());
        let actor = self.actor(&ask.actor);
        // What the edge digests: the same question again, not the same bytes on the wire.
        let fingerprint = ask.body.clone();
        let proved_at = ask.proved.map(|age| Millis(self.at + 1_000 - age));
        let outcome = self.apply(Proposal {
            file,
            actor,
            request,
            fingerprint,
            create,
            kind: &ask.kind,
            body,
            proved_at,
        });
        self.observed(file, &outcome)
    }

    pub(super) fn deliver(&mut self, from: &str) -> Vec<String> {
        let from_id = OrgId(self.ids.of(from));
        let waiting = self.read(from_id, |tx| pending(tx).unwrap()).unwrap_or_default();
        let mut lines = Vec::new();
        for (id, sent) in waiting {
            lines.push(self.ids.hide(&format!("to       {} {} {}", sent.to, sent.kind, id)));
            let outcome = self.apply(Proposal {
                file: sent.to,
                actor: sent.actor,
                request: id.0,
                fingerprint: String::new(),
                create: sent.create,
                kind: &sent.kind,
                body: sent.body.get().to_owned(),
                proved_at: None,
            });
            lines.extend(self.observed(sent.to, &outcome));
        }
        if lines.is_empty() {
            lines.push(format!("nothing  waits in {from}"));
        }
        lines
    }

    /// `admin`, `analyst` ... or any other user of acme; `admin@laptop` acts in the session of that name.
    fn actor(&mut self, name: &str) -> Actor {
        let (name, session) =
            name.split_once('@').map_or((name, None), |(name, session)| (name, Some(session)));
        let session = session.map(|name| SessionId(self.ids.of(name)));
        let mut member = |organization: &str, user: &str, role| Actor::User {
            organization: OrgId(self.ids.of(organization)),
            user: UserId(self.ids.of(user)),
            role,
            session,
        };
        match name {
            "system" => Actor::System,
            "anonymous" => Actor::Anonymous,
            "platform" => Actor::Platform { user: UserId(self.ids.of("platform")), session },
            "admin" => member("acme", "admin", Role::Admin),
            "analyst" => member("acme", "analyst", Role::Analyst),
            "stranger" => member("rival", "stranger", Role::Admin),
            "parent" => member("parent", "parent-admin", Role::Admin),
            other => member("acme", other, Role::Analyst),
        }
    }

    fn observed(&mut self, file: OrgId, outcome: &Outcome) -> Vec<String> {
        let mut lines = vec![verdict(outcome)];
        for (id, sent) in self.read(file, |tx| pending(tx).unwrap()).unwrap_or_default() {
            if self.ids.add_sent(id.0) {
                lines.push(format!("sent     {id} to {} {}", sent.to, sent.kind));
            }
        }
        lines.extend(self.events(file));
        lines.iter().map(|line| self.ids.hide(line)).collect()
    }

    /// Events that the trail of a file gained since it was last looked at.
    fn events(&mut self, file: OrgId) -> Vec<String> {
        let seen = self.seen.get(&file).copied().unwrap_or(0);
        let rows = self.read(file, |tx| {
            let mut statement = tx.prepare(EVENTS).unwrap();
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let rows = statement.query_map([seen], read).unwrap();
            rows.collect::<Result<Vec<(i64, Vec<u8>, Option<Vec<u8>>)>, _>>().unwrap()
        });
        let rows = rows.unwrap_or_default();
        if let Some((last, ..)) = rows.last() {
            self.seen.insert(file, *last);
        }
        rows.into_iter().map(|(_, leaf, personal)| event(&leaf, personal.as_deref())).collect()
    }

    /// The trail of every file is one chain.
    pub(super) fn verify_trails(&self) {
        for file in self.store.list() {
            let verified = self.read(file, |tx| verify_chain(tx).unwrap());
            assert!(matches!(verified, Some(Ok(_))), "the trail of {file} breaks at {verified:?}");
            let scrubbed = self.store.scrub(file, u64::MAX).unwrap();
            assert!(matches!(scrubbed, Scrubbed::Sound { .. }), "the rows of {file} do not add up");
        }
    }
}

fn user(ids: &mut Ids, name: &str, role: &str) -> Value {
    json!({ "id": ids.of(name), "email": format!("{name}@acme.example"), "role": role })
}

fn organization(ids: &mut Ids, slug: &str, parent: Option<&str>, plan: Plan) -> Value {
    let details = threatflow::features::organizations::model::Details::new(
        plan,
        slug.to_owned(),
        format!("bills@{slug}.example"),
        json!({}),
    );
    let mut organization = json!({ "id": ids.of(slug), "slug": slug, "domain": format!("{slug}.example"),
        "plan": plan, "region": "us-east-1", "details": details });
    if let Some(parent) = parent {
        organization["parent"] = json!(ids.of(parent));
    }
    organization
}

fn verdict(outcome: &Outcome) -> String {
    let replayed = if outcome.replayed { " replayed" } else { "" };
    if let Some(refusal) = outcome.refusal() {
        let mut refusal = serde_json::to_value(refusal).unwrap();
        refusal.sort_all_objects();
        return format!("refused  {}{replayed}", reason(&refusal));
    }
    let mut whole = serde_json::to_value(outcome).unwrap();
    whole.sort_all_objects();
    format!("ok       {}{replayed}", whole["verdict"]["ok"])
}

/// `quota_exceeded quota=3 requested=1 …`.
fn reason(refusal: &Value) -> String {
    let mut text = refusal["code"].as_str().unwrap().to_owned();
    for (name, value) in refusal.as_object().unwrap().iter().filter(|(name, _)| *name != "code") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.extend([" ", name, "=", &value]);
    }
    text
}

fn event(leaf: &[u8], personal: Option<&[u8]>) -> String {
    let leaf: Value = serde_json::from_slice(leaf).unwrap();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let (actor, resource) = (&leaf["actor"], &leaf["resource"]);
    let who = if actor["id"].is_null() { word(&actor["kind"]) } else { word(&actor["id"]) };
    let what = format!(
        "audit    {who} {} {} {}",
        word(&leaf["action"]),
        word(&resource["type"]),
        word(&resource["id"])
    );
    let became = if leaf["outcome"] == "refused" {
        format!("refused {}", word(&leaf["reason"]["code"]))
    } else {
        leaf["changes"].to_string()
    };
    let aside = personal.map(|fields| format!(" personal {}", String::from_utf8_lossy(fields)));
    format!("{what} {became}{}", aside.unwrap_or_default())
}

const EVENTS: &str = "SELECT e.seq, e.leaf, p.personal FROM audit_events e
    LEFT JOIN audit_personal p ON p.seq = e.seq WHERE e.seq > ?1 ORDER BY e.seq";
const USE_UP: &str = "INSERT INTO quotas_usage (resource, period, counted) VALUES (?1, ?2, ?3)
    ON CONFLICT (resource, period) DO UPDATE SET counted = excluded.counted";
