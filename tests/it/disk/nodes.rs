//! Nodes started one by one: each with its own folder, environment and lines on stderr.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::faults::Faults;
use crate::harness::{BINARY, Caller, await_condition, free_port};

/// How long a node may take to stop by itself after its disk failed: a checkpoint comes every half second.
pub(super) const STOPS_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One node, running or not.
pub(super) struct Node {
    pub(super) number: u64,
    pub(super) data: PathBuf,
    pub(super) url: String,
    pub(super) checkpoint_ms: u32,
    peer: u16,
    /// Where its stderr goes: never the disk that fails.
    said: PathBuf,
    faults: Option<Faults>,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run, with its data in `root/node-N`.
    pub(super) fn new(root: &Path, number: u64) -> Self {
        let (listen, peer) = (free_port(), free_port());
        let data = root.join(format!("node-{number}"));
        fs::create_dir_all(&data).unwrap();
        let said = root.join(format!("node-{number}.said"));
        let url = format!("http://127.0.0.1:{listen}");
        Self { number, data, url, checkpoint_ms: 500, peer, said, faults: None, child: None }
    }

    /// The same with a disk that can be made to fail.
    pub(super) fn with_faults(root: &Path, number: u64) -> Self {
        let mut node = Self::new(root, number);
        node.faults = Some(Faults::new(root, &format!("node-{number}")));
        node
    }

    /// What makes its disk fail.
    pub(super) fn faults(&self) -> &Faults {
        self.faults.as_ref().unwrap()
    }

    /// Starts it; its stderr begins anew.
    pub(super) fn start(&mut self, token: Option<&str>) {
        assert!(self.child.is_none(), "node {} runs already", self.number);
        let mut command = Command::new(BINARY);
        command.args(["serve", "--node-id", &self.number.to_string(), "--data-dir"]).arg(&self.data);
        command.args(["--listen", self.url.strip_prefix("http://").unwrap()]);
        command.args(["--peer-listen", &format!("127.0.0.1:{}", self.peer)]);
        command
            .env("THREATFLOW_CHECKPOINT_MS", self.checkpoint_ms.to_string())
            .env("THREATFLOW_STABILIZATION_MS", "200");
        if let Some(token) = token {
            command.args(["--join", token]);
        }
        if let Some(faults) = &self.faults {
            faults.put_before(&mut command);
        }
        let said = File::create(&self.said).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap());
    }

    /// From its next start on, what it says cannot be written.
    pub(super) fn mute(&mut self) {
        self.said = PathBuf::from("/dev/full");
    }

    pub(super) fn caller(&self) -> Caller {
        Caller::new(&self.url)
    }

    pub(super) fn await_ready(&mut self) {
        let caller = self.caller();
        await_condition(&format!("node {} to be ready", self.number), READY_WITHIN, || {
            assert!(self.running(), "node {} ended: {}", self.number, self.said());
            caller.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }

    /// Whether its process lives.
    pub(super) fn running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Waits until it stops by itself; answers its exit code and the line it ended with.
    pub(super) fn await_end(&mut self) -> (i32, String) {
        await_condition(&format!("node {} to stop by itself", self.number), STOPS_WITHIN, || !self.running());
        let code = self.exit_code();
        let said = self.said();
        let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("threatflow: ")).collect();
        let line = lines.last().unwrap_or_else(|| panic!("node {} said nothing: {said}", self.number));
        (code.unwrap_or_else(|| panic!("node {} was killed: {said}", self.number)), (*line).to_owned())
    }

    /// Of a process that has ended.
    pub(super) fn exit_code(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Waits until it stops because of a fault: with 70 and a line that holds all of `parts`.
    pub(super) fn await_fault(&mut self, parts: &[&str]) -> String {
        let (code, line) = self.await_end();
        assert_eq!(code, 70, "{line}");
        assert!(line.starts_with("this node stopped: "), "{line}");
        for part in parts {
            assert!(line.contains(part), "no {part:?} in: {line}");
        }
        println!("node {}: {line}", self.number);
        line
    }

    /// Kills it as a power cut would, as far as a process can.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in order.
    pub(super) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        await_condition("an orderly stop", STOPS_WITHIN, || child.try_wait().unwrap().is_some());
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            let tail: Vec<&str> = said.lines().rev().take(25).collect();
            println!("--- node {}\n{}", self.number, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Three nodes that vote.
pub(super) struct Trio {
    pub(super) nodes: Vec<Node>,
    pub(super) platform: Caller,
    password_file: PathBuf,
}

impl Trio {
    pub(super) fn start(mut nodes: Vec<Node>, root: &Path) -> Self {
        let password_file = root.join("password");
        nodes[0].start(None);
        nodes[0].await_ready();
        // Kept beside: a node's own disk may be gone when the password is needed.
        fs::copy(nodes[0].data.join("initial-admin-password"), &password_file).unwrap();
        let password = fs::read_to_string(&password_file).unwrap();
        let platform = nodes[0].caller().log_in("admin@localhost", password.trim(), "system");
        let mut trio = Self { nodes, platform, password_file };
        for at in 1..trio.nodes.len() {
            let token = trio.done(0, &["token"]);
            trio.nodes[at].start(Some(&token));
            trio.nodes[at].await_ready();
        }
        trio.await_voters(0, &[1, 2, 3]);
        trio
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url.clone()).collect()
    }

    /// Waits until exactly these nodes vote, as the one at `at` sees it.
    pub(super) fn await_voters(&self, at: usize, wanted: &[u64]) {
        let here = self.platform.at(&self.nodes[at].url);
        await_condition(&format!("{wanted:?} to vote"), READY_WITHIN, || {
            let Some(answer) = here.try_get("/api/v2/cluster") else { return false };
            let members = answer.json["members"].as_array().cloned().unwrap_or_default();
            let voters = members.iter().filter(|member| member["voter"] == true);
            voters.filter_map(|member| member["node"].as_u64()).collect::<Vec<_>>() == wanted
        });
    }

    /// Position of the leader.
    pub(super) fn leader(&self) -> usize {
        let mut found = None;
        await_condition("a leader", READY_WITHIN, || {
            found = self.nodes.iter().position(|node| {
                let asked = node.caller().try_get("/readyz?role=leader");
                asked.is_some_and(|answer| answer.status == 200)
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// `threatflow cluster …` at one node; what it printed.
    pub(super) fn cluster(&self, at: usize, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(BINARY);
        command.arg("cluster").args(words).args(["--server", &self.nodes[at].url, "--password-file"]);
        let output = command.arg(&self.password_file).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    pub(super) fn done(&self, at: usize, words: &[&str]) -> String {
        self.cluster(at, words).unwrap_or_else(|why| panic!("cluster {words:?}: {why}"))
    }

    /// Every file equal on all nodes, by content.
    pub(super) fn assert_equal_files(&self, at: usize) {
        let mut last = String::new();
        await_condition("all nodes to hold the same rows", Duration::from_secs(60), || {
            last = self.cluster(at, &["verify"]).unwrap_or_else(|why| why);
            last.ends_with("are equal on 3 nodes")
        });
    }
}
