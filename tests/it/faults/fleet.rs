//! Three nodes, one in each namespace of a lab.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    lab::{API_PORT, Lab, NODES, PEER_PORT},
    proxy::Proxies,
};
use crate::harness::{BINARY, Caller, await_condition};

/// Enough for one try: a read waits 5 s for freshness, a write 10 s, and neither is worth waiting for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The nodes.
pub struct Fleet {
    pub lab: Lab,
    /// The way between peers, if it is not the direct one.
    pub way: Option<Proxies>,
    folder: TempDir,
    children: Vec<Child>,
    password: String,
}

impl Fleet {
    /// Starts a cluster in `lab`; each process has the `environment` of its node beside ours.
    pub fn start(
        lab: Lab,
        way: Option<Proxies>,
        environment: impl Fn(usize) -> Vec<(String, String)>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Self { lab, way, folder, children: Vec::new(), password: String::new() };
        fleet.spawn(None, environment(0));
        let written = fs::read_to_string(fleet.data(0).join("initial-admin-password")).unwrap();
        fleet.password = written.trim().to_owned();
        let platform = fleet.platform();
        for node in &NODES[1..] {
            let made = platform.post("/api/v2/cluster/join-tokens", &json!({ "ttl_seconds": 300 }));
            fleet.spawn(Some(made.json["token"].as_str().unwrap()), environment(*node));
        }
        await_condition("every node to vote", Duration::from_secs(60), || {
            let members = platform.get("/api/v2/cluster").json["members"].clone();
            members.as_array().is_some_and(|all| all.iter().filter(|one| one["voter"] == true).count() == 3)
        });
        fleet
    }

    fn spawn(&mut self, join: Option<&str>, environment: Vec<(String, String)>) {
        let node = self.children.len();
        let address = self.lab.address(node);
        let log = fs::File::create(self.log(node)).unwrap();
        let mut command = self.lab.command(node, BINARY);
        command.args(["serve", "--die-with-parent", "--node-id", &(node + 1).to_string()]);
        command.args(["--listen", &format!("{address}:{API_PORT}")]);
        command.args(["--peer-listen", &format!("{address}:{PEER_PORT}")]);
        if let Some(way) = &self.way {
            command.args(["--peer-advertise", &format!("{}:{}", self.lab.own_address(), way.ports[node])]);
        }
        command.arg("--data-dir").arg(self.data(node));
        if let Some(token) = join {
            command.args(["--join", token]);
        }
        command.envs(environment);
        // The end of this pipe stops the node if we die.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.children.push(command.spawn().unwrap());
        self.await_ready(node);
    }

    pub fn url(&self, node: usize) -> String {
        format!("http://{}:{API_PORT}", self.lab.address(node))
    }

    /// The process of a node: `ip netns exec` has become it.
    pub fn pid(&self, node: usize) -> u32 {
        self.children[node].id()
    }

    /// Sends a signal to a node.
    pub fn signal(&self, node: usize, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid(node).to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The platform's administrator, known to every node.
    pub fn platform(&self) -> Caller {
        let known = Caller::new(&self.url(0)).log_in("admin@localhost", &self.password, "system");
        Caller::within(&self.url(0), PATIENCE).with_token(known.token())
    }

    /// That caller at each node, each with connections of its own.
    pub fn everywhere(&self, platform: &Caller) -> Vec<Caller> {
        NODES
            .iter()
            .map(|node| Caller::within(&self.url(*node), PATIENCE).with_token(platform.token()))
            .collect()
    }

    /// Who believes to lead, among these.
    pub fn leader_among(&self, nodes: &[usize]) -> Option<usize> {
        nodes.iter().copied().find(|node| {
            let caller = Caller::within(&self.url(*node), Duration::from_millis(500));
            caller.try_get("/readyz?role=leader").is_some_and(|answer| answer.status == 200)
        })
    }

    pub fn leader(&self) -> usize {
        let mut found = None;
        await_condition("a leader", Duration::from_secs(30), || {
            found = self.leader_among(&NODES);
            found.is_some()
        });
        found.unwrap()
    }

    pub fn await_ready(&self, node: usize) {
        let caller = Caller::within(&self.url(node), PATIENCE);
        await_condition(&format!("node {} to be ready", node + 1), Duration::from_secs(60), || {
            caller.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }

    /// Waits until all nodes hold the same rows in every file.
    pub fn await_equal_files(&self, platform: &Caller) {
        let mut digests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        await_condition("all nodes to hold the same rows", Duration::from_secs(60), || {
            digests.clear();
            for node in NODES {
                let at = Caller::new(&self.url(node)).with_token(platform.token());
                let Some(answer) = at.try_get("/api/v2/cluster/digests") else { return false };
                for (file, digest) in answer.json["files"].as_object().cloned().unwrap_or_default() {
                    digests.entry(file).or_default().push(digest);
                }
            }
            let same = |all: &Vec<Value>| all.len() == 3 && all.iter().all(|digest| *digest == all[0]);
            !digests.is_empty() && digests.values().all(same)
        });
    }

    fn data(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("node-{}", node + 1))
    }

    fn log(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("node-{}.log", node + 1))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for node in 0..self.children.len() {
                let log = fs::read_to_string(self.log(node)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                println!("--- node {}\n{}", node + 1, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
