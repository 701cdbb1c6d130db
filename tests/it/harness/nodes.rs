//! Nodes of one cluster that are started and stopped one by one, each with the binary of one's choice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use super::{Caller, await_condition, free_port};

/// The nodes; number N is at place N - 1.
pub struct Nodes {
    folder: TempDir,
    pub urls: Vec<String>,
    peers: Vec<u16>,
    children: Vec<Mutex<Option<Child>>>,
    settings: Vec<(String, String)>,
}

impl Nodes {
    /// Three nodes that vote.
    pub fn three(binary: &Path) -> Self {
        Self::three_with(binary, &[])
    }

    /// With settings that every node finds in its environment.
    pub fn three_with(binary: &Path, settings: &[(&str, &str)]) -> Self {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::tempdir().unwrap();
        let urls = (0..3).map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
        let peers = (0..3).map(|_| free_port()).collect();
        let children = (0..3).map(|_| Mutex::default()).collect();
        let nodes = Self { folder, urls, peers, children, settings };
        nodes.start(0, binary);
        let platform = nodes.platform();
        for node in 1..3 {
            let token = platform.post("/api/v2/cluster/join-tokens", &json!({})).json["token"].clone();
            nodes.spawn(node, binary, token.as_str());
            nodes.await_ready(node);
        }
        await_condition("three voters", Duration::from_secs(30), || {
            let members = platform.get("/api/v2/cluster").json["members"].clone();
            members.as_array().unwrap().iter().filter(|member| member["voter"] == true).count() == 3
        });
        nodes
    }

    /// Starts a member and waits until it is ready.
    pub fn start(&self, node: usize, binary: &Path) {
        self.spawn(node, binary, None);
        self.await_ready(node);
    }

    /// Starts a member that may not come to be ready.
    pub fn spawn(&self, node: usize, binary: &Path, join: Option<&str>) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log(node)).unwrap();
        let mut command = Command::new(binary);
        command.args(["serve", "--node-id", &(node + 1).to_string(), "--data-dir"]).arg(self.data(node));
        command.args(["--listen", self.urls[node].trim_start_matches("http://")]);
        command.args(["--peer-listen", &format!("127.0.0.1:{}", self.peers[node])]);
        if let Some(token) = join {
            command.args(["--join", token]);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *self.children[node].lock().unwrap() = Some(command.spawn().unwrap());
    }

    /// Sends SIGTERM.
    pub fn terminate(&self, node: usize) {
        let pid = self.children[node].lock().unwrap().as_ref().expect("the node runs").id();
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    }

    /// Kills a node as a power cut would, as far as a process can be.
    pub fn kill(&self, node: usize) {
        let mut child = self.children[node].lock().unwrap().take().expect("the node runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until a node's process ends.
    pub fn ended(&self, node: usize) -> ExitStatus {
        let mut ended = None;
        await_condition("a node to end", Duration::from_secs(40), || {
            ended = self.children[node].lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            ended.is_some()
        });
        *self.children[node].lock().unwrap() = None;
        ended.unwrap()
    }

    /// What a node said on stderr, ever.
    pub fn said(&self, node: usize) -> String {
        fs::read_to_string(self.log(node)).unwrap_or_default()
    }

    pub fn await_ready(&self, node: usize) {
        let caller = Caller::new(&self.urls[node]);
        await_condition("a node to be ready", Duration::from_secs(40), || {
            caller.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }

    /// Which node leads.
    pub fn leader(&self) -> usize {
        let mut found = None;
        await_condition("a leader", Duration::from_secs(20), || {
            found = (0..self.urls.len()).find(|node| {
                let status = Caller::new(&self.urls[*node]).try_get("/readyz?role=leader");
                status.is_some_and(|answer| answer.status == 200)
            });
            found.is_some()
        });
        found.unwrap()
    }

    pub fn platform(&self) -> Caller {
        let password = fs::read_to_string(self.password_file()).unwrap();
        Caller::new(&self.urls[0]).log_in("admin@localhost", password.trim(), "system")
    }

    /// Where the first node wrote the administrator's password.
    pub fn password_file(&self) -> PathBuf {
        self.data(0).join("initial-admin-password")
    }

    /// Where a node keeps an organization's file, or `system`'s.
    pub fn file(&self, node: usize, organization: &str) -> PathBuf {
        let store = self.data(node).join("store");
        if organization == "system" {
            return store.join("system.db");
        }
        store.join(format!("tenants/{organization}.db"))
    }

    fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", node + 1))
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", node + 1))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Some(child) = child.get_mut().ok().and_then(Option::as_mut) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if std::thread::panicking() {
            for node in 0..self.urls.len() {
                let log = self.said(node);
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                println!("--- node {}\n{}", node + 1, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
