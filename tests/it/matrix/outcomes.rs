//! What every route answers to every kind of caller, as a table in `goldens/matrix.txt`; `UPDATE=1` writes it anew.
//!
//! The target organization has a parent, a sibling and a child; its members are one of each role. Everybody asks for
//! things that are really there in the target, so that a 404 says "not for you" and nothing else. What a call used up
//! is made again before the next one. A route that comes later is in the table by itself; one whose path names a
//! thing of a new kind needs a line in [`MAKERS`].

use std::{collections::BTreeMap, env, fmt::Write, fs};

use serde_json::Value;
use threatflow::web::{Method, Needs, Route};

use super::{INSTALLATION, NOWHERE, body_for};
use crate::harness::{Caller, Organization, World, create_organization};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/goldens/matrix.txt");
const PASSWORD: &str = "correct horse battery staple";

/// Who asks, in the order of the columns. The first one is nobody.
const COLUMNS: &[&str] =
    &["anonymous", "other", "sibling", "parent", "child", "analyst", "senior", "lead", "admin", "platform"];
/// For whom the target is not there.
const FOREIGN: &[&str] = &["other", "sibling", "child"];
/// Each may do what the one before it may.
const LADDER: &[&str] = &["analyst", "senior", "lead", "admin"];

/// How a thing that a path names is made: the path up to its id, where it is created, from what, and where its id
/// stands in the answer. The first that fits is used; `{n}` is a number that no other thing has, `{user}` somebody of the
/// target who never asks.
const MAKERS: &[Maker] = &[
    Maker("/users/", "/users/invite", r#"{"email":"made{n}@target.test"}"#, "/user/id"),
    Maker("/roles/", "/roles", r#"{"name":"made {n}"}"#, "/id"),
    Maker("/groups/", "/groups", r#"{"name":"made {n}"}"#, "/id"),
    Maker(
        "/policies/",
        "/policies",
        r#"{"name":"made {n}","text":"forbid (principal, action, resource) when { false };"}"#,
        "/id",
    ),
    Maker(
        "/grants/",
        "/grants",
        r#"{"effect":"deny","subject":"user:{user}","permissions":["read:case"]}"#,
        "/id",
    ),
    Maker("/domains/", "/domains", r#"{"domain":"made{n}.target.test"}"#, "/data/0/domain"),
    Maker("/investigations/", "/investigations", r#"{"title":"made {n}"}"#, "/id"),
    Maker("/cases/", "/cases", r#"{"title":"made {n}"}"#, "/id"),
    Maker("/activities/", "/activities", r#"{"name":"made {n}"}"#, "/id"),
    Maker("/intel/imports/", "/intel/bundles", include_str!("../../../examples/bundle.json"), "/id"),
];

/// See [`MAKERS`].
struct Maker(&'static str, &'static str, &'static str, &'static str);

/// Routes that end sessions or change keys under everybody: they come last, and each call of them is made in a session
/// of its own.
const LAST: &[&str] = &[
    "logOut",
    "endAllSessions",
    "rotateDataKey",
    "rotateClusterKey",
    "rotateSigningKey",
    "rotateCertificates",
    "rotateAuthority",
];

/// Routes on which the administrator of the target meets a 404 although nothing is hidden from it: why.
const BLIND: &[(&str, &str)] = &[
    ("removeGroupMember", "the group has no members"),
    ("takeRole", "nobody has the role"),
    ("removeCollaborator", "nobody collaborates"),
    ("getNote", "nobody wrote one"),
    ("updateNote", "nobody wrote one"),
    ("deleteNote", "nobody wrote one"),
];

/// A body that changes little when it is taken: the one of the other tests unless it would change who may what.
fn gentle_body(operation: &str) -> &'static str {
    match operation {
        "createUser" => r#"{"email":"created{n}@target.test","role":"analyst"}"#,
        "inviteUser" => r#"{"email":"invited{n}@target.test"}"#,
        "createRole" | "updateRole" | "createGroup" | "updateGroup" => r#"{"name":"named {n}"}"#,
        "giveRole" => r#"{"subject":"user:{user}"}"#,
        "createGrant" | "updateGrant" => MAKERS[4].2,
        "createPolicy" | "updatePolicy" => MAKERS[3].2,
        "claimDomain" => r#"{"domain":"claimed{n}.target.test"}"#,
        // Refused after it was allowed: the slug is another's.
        "eraseOrganization" => r#"{"slug":"nobody"}"#,
        other => body_for(other),
    }
}

/// Somebody with a password, and its present session.
struct Who {
    name: &'static str,
    account: Option<(String, String, String)>,
    caller: Caller,
}

impl Who {
    fn again(&mut self) {
        if let Some((email, password, organization)) = &self.account {
            self.caller = self.caller.without_token().log_in(email, password, organization);
        }
    }
}

struct Stage {
    world: World,
    target: Organization,
    maker: Who,
    whos: Vec<Who>,
    /// Somebody of the target who never asks.
    user: String,
    made: BTreeMap<String, String>,
    count: u32,
}

impl Stage {
    fn set() -> Self {
        // A name server that is not there: what a domain's says is not the matter here.
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("threatflow.toml");
        fs::write(&config, "dns_server = \"127.0.0.1:9\"\n").unwrap();
        let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
        let platform = world.platform();
        let make = |slug, parent| create_organization(&platform, slug, "enterprise", parent);
        let other = make("other", None);
        let parent = make("parent", None);
        let target = make("target", Some(parent.id.as_str()));
        let sibling = make("sibling", Some(parent.id.as_str()));
        let child = make("child", Some(target.id.as_str()));
        let nobody = world.anonymous();
        let who = |name, account: Option<(&str, &str, &str)>| {
            let account = account.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            let mut who = Who { name, account, caller: nobody.clone() };
            who.again();
            who
        };
        let member = |name, role| {
            target.member(name, role);
            who(name, Some((&format!("{name}@target.test"), PASSWORD, "target")))
        };
        let outside = |org: &Organization, name| {
            who(name, Some((&format!("admin@{}.test", org.slug), PASSWORD, org.slug.as_str())))
        };
        let password = fs::read_to_string(world.folder.path().join("initial-admin-password")).unwrap();
        let whos = vec![
            who("anonymous", None),
            outside(&other, "other"),
            outside(&sibling, "sibling"),
            outside(&parent, "parent"),
            outside(&child, "child"),
            member("analyst", "analyst"),
            member("senior", "senior_analyst"),
            member("lead", "team_lead"),
            outside(&target, "admin"),
            who("platform", Some(("admin@localhost", password.trim(), "system"))),
        ];
        let maker = member("maker", "admin");
        let mut stage =
            Self { world, target, maker, whos, user: NOWHERE.to_owned(), made: BTreeMap::new(), count: 0 };
        stage.user = stage.make("/organizations/{org}/users/{id}").unwrap();
        stage
    }

    fn filled(&mut self, text: &str) -> String {
        self.count += 1;
        text.replace("{n}", &self.count.to_string()).replace("{user}", &self.user)
    }

    /// The id of a thing of the target that the path names, made now if the last one may be gone.
    fn thing(&mut self, path: &str) -> String {
        if let Some(id) = self.made.get(path) {
            return id.clone();
        }
        let id = self.make(path).unwrap_or_else(|| NOWHERE.to_owned());
        self.made.insert(path.to_owned(), id.clone());
        id
    }

    fn make(&mut self, path: &str) -> Option<String> {
        if path.starts_with("/cluster/nodes/") {
            let cluster = self.whos.last()?.caller.get("/api/v2/cluster");
            return Some(cluster.json["members"][0]["node"].to_string());
        }
        let below = path.strip_prefix("/organizations/{org}")?;
        if below.starts_with("/audit-events/") {
            return self.read("/audit-events?limit=1", "/data/0/event/id");
        }
        if below.starts_with("/intel/objects/") {
            self.thing("/organizations/{org}/intel/imports/{id}");
            return self.read("/intel/objects?limit=1", "/data/0/id");
        }
        let Maker(_, at, body, id) = MAKERS.iter().find(|maker| below.starts_with(maker.0))?;
        let body = self.filled(body);
        let path = self.target.path(at);
        let made = self.maker.caller.send("POST", &path, Some(body.as_bytes()), &[]).unwrap();
        Some(text(&made.json, id).unwrap_or_else(|| panic!("POST {path}: {} {}", made.status, made.body)))
    }

    fn read(&self, path: &str, id: &str) -> Option<String> {
        let answer = self.maker.caller.get(&self.target.path(path));
        Some(text(&answer.json, id).unwrap_or_else(|| panic!("{path}: {}", answer.body)))
    }

    /// Asks as one of them, and says what came back.
    fn ask(&mut self, at: usize, route: &Route, last: bool) -> u16 {
        if last {
            self.whos[at].again();
            self.maker.again();
        }
        let (version, path) = route.paths[0];
        let id = self.thing(path);
        let filled = path.replace("{org}", &self.target.id).replace("{id}", &id).replace("{domain}", &id);
        let filled =
            filled.replace("{user}", &self.user).replace("{subject}", &format!("user:{}", self.user));
        let filled = filled.replace("{organization}", "me").replace("{permission}", "read:case");
        let filled = filled
            .replace("{*rest}", "there")
            .replace("{target}", "nowhere")
            .replace("{restore}", "01890a5d-ac96-774b-bcce-b302099a8057");
        let body = self.filled(gentle_body(route.operation));
        let body = (route.method != Method::Get).then_some(body.as_bytes());
        let filled = format!("{}{filled}", version.prefix());
        let answer = self.whos[at].caller.send(route.method.name(), &filled, body, &[]).unwrap();
        if route.method != Method::Get && answer.status < 300 {
            self.made.remove(path);
        }
        answer.status
    }
}

fn text(json: &Value, pointer: &str) -> Option<String> {
    json.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Whether an answer says that the caller may: it was let through, whatever became of it then.
fn passed(status: u16) -> bool {
    !matches!(status, 401 | 403 | 404)
}

fn table() -> Vec<(Route, Vec<u16>)> {
    let mut stage = Stage::set();
    assert_eq!(stage.whos.iter().map(|who| who.name).collect::<Vec<_>>(), COLUMNS);
    let mut routes = threatflow::app::routes::listed();
    routes.sort_by_key(|route| LAST.iter().position(|last| *last == route.operation).map_or(0, |at| at + 1));
    let mut rows = Vec::new();
    for route in routes {
        let last = LAST.contains(&route.operation);
        let statuses = (0..COLUMNS.len()).map(|at| stage.ask(at, &route, last)).collect();
        rows.push((route, statuses));
    }
    drop(stage.world);
    rows
}

fn rendered(rows: &[(Route, Vec<u16>)]) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (route, statuses) in rows {
        let (version, path) = route.paths[0];
        let name = format!("{:6} {}{path}", route.method.name(), version.prefix());
        let cells = statuses.iter().fold(String::new(), |mut text, status| {
            let _ = write!(text, "{status:>10}");
            text
        });
        lines.push((format!("{}{path}", version.prefix()), format!("{name:84}{cells}")));
    }
    lines.sort();
    let columns = COLUMNS.iter().fold(String::new(), |mut text, name| {
        let _ = write!(text, "{name:>10}");
        text
    });
    let head = format!("{:84}{columns}\n", "to a thing of the organization `target`");
    lines.into_iter().fold(head, |text, (_, line)| text + &line + "\n")
}

#[test]
fn every_route_answers_every_kind_of_caller_as_the_table_says() {
    let rows = table();
    let text = rendered(&rows);
    let mut wrong = String::new();
    let listed: Vec<&str> = rows.iter().map(|(route, _)| route.operation).collect();
    for name in LAST.iter().chain(BLIND.iter().map(|(name, _)| name)) {
        assert!(listed.contains(name), "{name} is in a list here and is no route");
    }
    for (route, statuses) in &rows {
        let of = |name: &str| statuses[COLUMNS.iter().position(|column| *column == name).unwrap()];
        let mut check = |holds: bool, what: &str| {
            if !holds {
                let _ = writeln!(wrong, "{}: {what}: {statuses:?}", route.operation);
            }
        };
        check(statuses.iter().all(|status| *status < 500 || *status == 503), "somebody meets a failure");
        if route.needs == Needs::Caller {
            check(of("anonymous") == 401, "nobody is let in");
        }
        for pair in LADDER.windows(2) {
            check(!passed(of(pair[0])) || passed(of(pair[1])), "a lower role may what a higher one may not");
        }
        if route.paths[0].1.contains("{org}") {
            check(FOREIGN.iter().all(|name| of(name) == 404), "it is there for somebody foreign");
            let blind = BLIND.iter().any(|(name, _)| *name == route.operation);
            check((of("admin") == 404) == blind, "the target's own administrator finds nothing: add a maker");
        }
        if INSTALLATION.contains(&route.operation) && route.needs == Needs::Caller {
            let members = COLUMNS[1..9].iter().filter(|name| passed(of(name)));
            check(
                members.count() == 0 || route.operation == "getAccessMatrix",
                "a member operates the installation",
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}{text}");
    if env::var_os("UPDATE").is_some() {
        fs::write(GOLDEN, &text).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(golden == text, "{}\nUPDATE=1 writes it; read the diff", difference(&golden, &text));
}

/// The lines that are in one alone.
fn difference(golden: &str, text: &str) -> String {
    let gone =
        golden.lines().filter(|line| !text.lines().any(|other| other == *line)).map(|line| ("-", line));
    let new = text.lines().filter(|line| !golden.lines().any(|other| other == *line)).map(|line| ("+", line));
    gone.chain(new).fold(String::new(), |mut all, (sign, line)| {
        let _ = writeln!(all, "{sign} {line}");
        all
    })
}
