//! etcd beside us: Debian's `etcd-server`, three nodes on loopback, fsync on, through its HTTP/JSON gateway.

use std::{
    cell::Cell,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    load::Target,
    process::{self, Process, wait_for},
};

const NODES: usize = 3;
/// In base64, as the gateway wants it.
const KEY: &str = "ZmlndXJlcw==";
const ANSWER: Duration = Duration::from_secs(5);

/// A running etcd cluster.
pub struct Etcd {
    addresses: Vec<SocketAddr>,
    leader: usize,
    /// Puts of the one key that are known.
    puts: Cell<u64>,
    // Before the folder: fields are dropped in order.
    processes: Vec<Process>,
    _folder: TempDir,
}

impl Etcd {
    /// Starts it; `None`, and a loud line, when it is not installed.
    pub async fn start() -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        {
            println!(
                "LEFT OUT: etcd is not here (Debian: apt-get install etcd-server), so nothing is compared"
            );
            return None;
        }
        let folder = process::folder("etcd");
        let addresses: Vec<SocketAddr> = (0..NODES).map(|_| process::free_address()).collect();
        let peers: Vec<SocketAddr> = (0..NODES).map(|_| process::free_address()).collect();
        let members: Vec<String> =
            peers.iter().enumerate().map(|(node, peer)| format!("n{node}=http://{peer}")).collect();
        let start = |node: usize| {
            let (client, peer) = (format!("http://{}", addresses[node]), format!("http://{}", peers[node]));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("n{node}"), "--initial-cluster", &members.join(",")]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"]);
            command.arg("--data-dir").arg(folder.path().join(format!("n{node}"))).stdout(Stdio::null());
            Process::start(command, &folder.path().join("etcd.log"))
        };
        let processes = (0..NODES).map(start).collect();
        let mut etcd = Self { addresses, leader: 0, puts: Cell::new(0), processes, _folder: folder };
        wait_for("etcd to elect a leader", Duration::from_secs(30), async || {
            etcd.find_leader().await.is_some()
        })
        .await;
        etcd.leader = etcd.find_leader().await.expect("etcd has a leader");
        Some(etcd)
    }

    async fn find_leader(&self) -> Option<usize> {
        let question = http::request("POST", "/v3/maintenance/status", &[], b"{}");
        for (node, address) in self.addresses.iter().enumerate() {
            let status = http::once(*address, &question, ANSWER).await?.json();
            let leader = status["leader"].as_str().filter(|leader| *leader != "0")?.to_owned();
            if status["header"]["member_id"] == Value::String(leader) {
                return Some(node);
            }
        }
        None
    }

    /// Processor time of all nodes so far.
    pub fn processor_us(&self) -> f64 {
        self.processes.iter().map(|process| process::processor_us(process.pid())).sum()
    }

    /// Proves that what was acknowledged was put: the key's version counts its puts.
    pub async fn expect_puts(&self, answered: u64, failed: u64) {
        let question = http::request("POST", "/v3/kv/range", &[], format!(r#"{{"key":"{KEY}"}}"#).as_bytes());
        let answer =
            http::once(self.addresses[0], &question, ANSWER).await.expect("an answer of etcd").json();
        let version: u64 =
            answer["kvs"][0]["version"].as_str().and_then(|text| text.parse().ok()).expect("a version");
        let expected = self.puts.get() + answered..=self.puts.get() + answered + failed;
        assert!(expected.contains(&version), "{expected:?} puts were acknowledged, {version} are counted");
        self.puts.set(version);
    }

    /// A put of 130 bytes at the leader, or at every node with the followers first.
    pub fn targets(&self, leader_only: bool) -> Vec<Target> {
        let put = put();
        let target = |node: usize| Target { address: self.addresses[node], request: Arc::clone(&put) };
        let span = if leader_only { 1 } else { NODES };
        (0..span).rev().map(|step| target((self.leader + step) % NODES)).collect()
    }
}

/// The same key again, as our increments reach the same row again. 130 bytes in base64.
fn put() -> Arc<[u8]> {
    let body = format!(r#"{{"key":"{KEY}","value":"{}QQ=="}}"#, "QUFB".repeat(43));
    http::request("POST", "/v3/kv/put", &[], body.as_bytes()).into()
}
