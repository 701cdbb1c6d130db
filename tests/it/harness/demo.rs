//! Three real processes, started by `threatflow demo`.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{BINARY, Caller, await_condition, free_port};

/// A running demo cluster.
pub struct Demo {
    pub folder: TempDir,
    pub urls: Vec<String>,
    pub password_file: String,
    password: String,
    child: Child,
}

impl Demo {
    pub fn three_nodes() -> Self {
        Self::start(&[])
    }

    pub fn start(more: &[&str]) -> Self {
        Self::configured(more, &[])
    }

    /// With settings that every node finds in its environment.
    pub fn configured(more: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(["demo", "--nodes", "3", "--base-port", &base_port().to_string()]).args(more);
        command.envs(settings.iter().copied());
        command.arg("--data-dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.stderr(fs::File::create(folder.path().join("demo.log")).unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{line:?}: {:?}", fs::read_to_string(folder.path().join("demo.log"))));
        let urls =
            told["nodes"].as_array().unwrap().iter().map(|node| node["url"].as_str().unwrap().to_owned());
        let urls = urls.collect();
        let password_file = told["admin_password_file"].as_str().unwrap().to_owned();
        let password = fs::read_to_string(&password_file).unwrap().trim().to_owned();
        Self { folder, urls, password_file, password, child }
    }

    pub fn caller(&self, node: usize) -> Caller {
        Caller::new(&self.urls[node])
    }

    pub fn platform(&self) -> Caller {
        self.caller(0).log_in("admin@localhost", &self.password, "system")
    }

    /// Position of the leader, as soon as one is known.
    pub fn leader(&self, platform: &Caller) -> usize {
        let mut found = None;
        await_condition("a leader", Duration::from_secs(20), || {
            found = (0..self.urls.len()).find(|node| {
                let status = platform.at(&self.urls[*node]).try_get("/readyz?role=leader");
                status.is_some_and(|answer| answer.status == 200)
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&self, node: usize) {
        let pid = self.pid(node).expect("the node runs");
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(5);
        while self.pid(node) == Some(pid) {
            assert!(Instant::now() < until, "node {} did not die", node + 1);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process of a node: the child of the demo that was told this node's id.
    pub fn pid(&self, node: usize) -> Option<u32> {
        let all_tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let lists =
            all_tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let wanted = (node + 1).to_string();
        lists
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                words.windows(2).any(|pair| pair[0] == b"--node-id" && pair[1] == wanted.as_bytes())
            })
    }

    pub fn await_all_ready(&self) {
        for node in 0..self.urls.len() {
            let caller = self.caller(node);
            await_condition("every node to be ready", Duration::from_secs(40), || {
                caller.try_get("/readyz").is_some_and(|answer| answer.status == 200)
            });
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let until = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().ok().flatten().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for name in ["demo.log", "node-1.log", "node-2.log", "node-3.log"] {
                let log = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                println!("--- {name}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// Ports base+1.. and base+101.. must be free; tests run side by side.
fn base_port() -> u16 {
    loop {
        let base = free_port();
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (1..=3).all(|node| free(base + node) && free(base + 100 + node)) {
            return base;
        }
    }
}
