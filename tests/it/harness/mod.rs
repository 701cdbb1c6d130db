//! Worlds: a running node or cluster, and callers of it.
//!
//! `World::one_node()` starts the real binary in a folder of its own, `Demo` three of them, `Nodes` three that are
//! stopped and started one by one. Each stops what it started, by pid, when it is dropped.

mod authenticator;
mod caller;
mod data;
mod demo;
mod nodes;
mod planted;
mod wire;
mod writers;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

pub use authenticator::{Authenticator, code_of};
pub use caller::{Answer, Caller};
pub use data::third_party;
pub use demo::Demo;
pub use nodes::Nodes;
pub use planted::Plant;
use serde_json::{Value, json};
use tempfile::TempDir;
pub use wire::Wire;
pub use writers::Writers;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_threatflow");

/// One node in a folder of its own.
pub struct World {
    pub folder: TempDir,
    pub url: String,
    listen: u16,
    peer: u16,
    more: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
}

impl World {
    pub fn one_node() -> Self {
        Self::one_node_with(&[])
    }

    /// A node with further flags.
    pub fn one_node_with(more: &[&str]) -> Self {
        Self::start(tempfile::tempdir().unwrap(), Vec::new(), more)
    }

    /// A node that finds settings in its environment.
    pub fn one_node_in(environment: Vec<(String, String)>, more: &[&str]) -> Self {
        Self::start(tempfile::tempdir().unwrap(), environment, more)
    }

    /// A node whose folder `prepare` has filled.
    pub fn one_node_over(prepare: impl FnOnce(&Path)) -> Self {
        Self::one_node_over_in(Vec::new(), prepare)
    }

    /// The same, with settings in its environment.
    pub fn one_node_over_in(environment: Vec<(String, String)>, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        Self::start(folder, environment, &[])
    }

    fn start(folder: TempDir, environment: Vec<(String, String)>, more: &[&str]) -> Self {
        let (listen, peer) = (free_port(), free_port());
        let more: Vec<String> = more.iter().map(|&flag| flag.to_owned()).collect();
        let child = serve(folder.path(), listen, peer, &more, &environment);
        let url = format!("http://127.0.0.1:{listen}");
        let world = Self { folder, url, listen, peer, more, environment, child };
        world.await_ready();
        world
    }

    /// Kills the node as a power cut would (as far as a process can) and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    /// Waits until the node ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_by(|| {})
    }

    /// The same, while `nudge` is done again and again.
    pub fn ended_by(&mut self, mut nudge: impl FnMut()) -> ExitStatus {
        let mut ended = None;
        await_condition("the node to end", Duration::from_secs(40), || {
            nudge();
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Kills the node as a power cut would, as far as a process can.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a node again that has ended.
    pub fn restart(&mut self) {
        self.start_again();
        self.await_ready();
    }

    /// The same, for one that may not come to be ready.
    pub fn start_again(&mut self) {
        self.child = serve(self.folder.path(), self.listen, self.peer, &self.more, &self.environment);
    }

    pub fn anonymous(&self) -> Caller {
        Caller::new(&self.url)
    }

    /// The platform administrator, with the password the first start wrote.
    pub fn platform(&self) -> Caller {
        let password = fs::read_to_string(self.folder.path().join("initial-admin-password")).unwrap();
        self.anonymous().log_in("admin@localhost", password.trim(), "system")
    }

    /// What the node said on stderr, ever.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default()
    }

    /// A new organization on `plan`, and its administrator.
    pub fn organization(&self, slug: &str, plan: &str) -> Organization {
        create_organization(&self.platform(), slug, plan, None)
    }

    pub fn child_of(&self, parent: &Organization, slug: &str, plan: &str) -> Organization {
        create_organization(&self.platform(), slug, plan, Some(&parent.id))
    }

    fn await_ready(&self) {
        let anonymous = self.anonymous();
        await_condition("the node to be ready", Duration::from_secs(30), || {
            anonymous.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- the node's stderr\n{}", self.said());
        }
    }
}

/// An organization and its first administrator.
#[derive(Clone)]
pub struct Organization {
    pub id: String,
    pub slug: String,
    pub admin: Caller,
}

pub fn create_organization(platform: &Caller, slug: &str, plan: &str, parent: Option<&str>) -> Organization {
    let email = format!("admin@{slug}.test");
    let password = "correct horse battery staple";
    let body = json!({
        "name": slug, "slug": slug, "domain": format!("{slug}.test"), "plan": plan,
        "billing_email": format!("bills@{slug}.test"), "parent_organization_id": parent,
        "contact_info": { "primary_contact": "Ann", "email": email },
        "admin": { "email": email, "password": password },
    });
    let created = platform.post("/api/v2/organizations", &body);
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.json["id"].as_str().unwrap().to_owned();
    let admin = platform.without_token().log_in(&email, password, slug);
    Organization { id, slug: slug.to_owned(), admin }
}

impl Organization {
    /// A further member of the organization.
    pub fn member(&self, name: &str, role: &str) -> Caller {
        let (email, password) = (format!("{name}@{}.test", self.slug), "correct horse battery staple");
        let body = json!({ "email": email, "password": password, "role": role });
        let created = self.admin.post(&format!("/api/v2/organizations/{}/users", self.id), &body);
        assert_eq!(created.status, 201, "{}", created.body);
        self.admin.without_token().log_in(&email, password, &self.slug)
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v2/organizations/{}{rest}", self.id)
    }
}

fn serve(folder: &Path, listen: u16, peer: u16, more: &[String], environment: &[(String, String)]) -> Child {
    let stderr = fs::OpenOptions::new().create(true).append(true).open(folder.join("stderr.log")).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--data-dir").arg(folder).args(more);
    command.args(["--listen", &format!("127.0.0.1:{listen}"), "--peer-listen", &format!("127.0.0.1:{peer}")]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// A port that is free, and below those that the kernel gives to outgoing connections: a node that is
/// killed must find its port free again. Each test process looks in a place of its own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let home = 10_000 + u16::try_from(std::process::id() % 180).unwrap() * 120;
    loop {
        let port = home + NEXT.fetch_add(1, Ordering::SeqCst) % 120;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for a condition; a test proves with conditions, never with sleeps.
pub fn await_condition(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < until, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The problem's code.
pub fn code(answer: &Answer) -> &str {
    answer.json["code"].as_str().unwrap_or_default()
}

/// The names of the bad fields of a 422.
pub fn pointers(answer: &Answer) -> Vec<String> {
    let list = answer.json["errors"].as_array().cloned().unwrap_or_default();
    list.iter().map(|error: &Value| error["pointer"].as_str().unwrap().to_owned()).collect()
}
