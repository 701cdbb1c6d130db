//! The product, run as its users run it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http::{self, Answer},
    options::Options,
    process::{self, Process, wait_for},
};

const ANSWER: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_mins(1);

/// A running node or cluster.
pub struct Product {
    pub addresses: Vec<SocketAddr>,
    password: String,
    // Before the folder: fields are dropped in order.
    process: Process,
    folder: TempDir,
}

/// An organization and its administrator's token.
pub struct Organization {
    pub id: String,
    pub token: String,
}

/// Somebody in an organization: its id, and the organization with its token.
pub struct Member {
    pub id: String,
    pub at: Organization,
}

const PASSWORD: &str = "staircase orbit lamp seven";

impl Organization {
    /// A request's bytes in its name, below its path.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        http::request(method, &format!("/api/v2/organizations/{}{path}", self.id), &headers, body)
    }

    /// One increment of a quota's usage: the write that is measured.
    pub fn increment(&self) -> Vec<u8> {
        increment(&self.id, &self.token)
    }
}

/// One increment of a quota's usage in the name of whoever has the token.
pub fn increment(organization: &str, token: &str) -> Vec<u8> {
    let (path, bearer) = (format!("/api/v2/organizations/{organization}/usage"), format!("Bearer {token}"));
    let body = br#"{"resource":"max_workflows","amount":1}"#;
    http::request("POST", &path, &[("authorization", &bearer)], body)
}

impl Product {
    pub async fn start(options: &Options, nodes: usize) -> Self {
        Self::start_with(options, nodes, &[]).await
    }

    /// With settings that every node finds in its environment.
    pub async fn start_with(options: &Options, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let folder = process::folder(&format!("{nodes}-node"));
        let product = if nodes == 1 {
            one(options, folder, settings)
        } else {
            several(options, nodes, folder, settings)
        };
        product.ready().await;
        let password = fs::read_to_string(product.password_file()).expect("the administrator's password");
        Self { password: password.trim().to_owned(), ..product }
    }

    pub fn nodes(&self) -> usize {
        self.addresses.len()
    }

    /// The process of a node, while it runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        if self.nodes() == 1 {
            Some(self.process.pid())
        } else {
            process::node_of(self.process.pid(), node + 1)
        }
    }

    /// Proves that what was acknowledged was counted, once each: by one more increment, whose answer tells the
    /// usage. A request that failed may have been counted or not.
    pub async fn expect_usage(&self, organization: &Organization, counted: &mut (u64, u64)) {
        let answer =
            http::once(self.addresses[0], &organization.increment(), ANSWER).await.expect("an answer");
        let usage = answer.json()["usage"].as_u64().expect("a usage");
        counted.0 += 1;
        let expected = counted.0..=counted.0 + counted.1;
        assert!(expected.contains(&usage), "{expected:?} increments were acknowledged, {usage} are counted");
    }

    /// Processor time of all nodes so far.
    pub fn processor_us(&self) -> f64 {
        (0..self.nodes()).filter_map(|node| self.pid(node)).map(process::processor_us).sum()
    }

    /// Waits until every node takes requests and one leads.
    pub async fn ready(&self) {
        for address in &self.addresses {
            wait_for("every node to be ready", READY, || is_ready(*address)).await;
        }
        wait_for("a leader", READY, async || self.find_leader().await.is_some()).await;
    }

    /// Which node leads.
    pub async fn leader(&self) -> usize {
        wait_for("a leader", READY, async || self.find_leader().await.is_some()).await;
        self.find_leader().await.expect("a leader")
    }

    async fn find_leader(&self) -> Option<usize> {
        let question = http::request("GET", "/readyz?role=leader", &[], b"");
        for (node, address) in self.addresses.iter().enumerate() {
            let answer = http::once(*address, &question, ANSWER).await;
            if answer.is_some_and(|answer| answer.status == 200) {
                return Some(node);
            }
        }
        None
    }

    /// The platform administrator's token.
    pub async fn platform(&self) -> String {
        self.log_in("admin@localhost", &self.password, "system").await
    }

    /// A new enterprise organization with an administrator.
    pub async fn organization(&self, slug: &str) -> Organization {
        let platform = self.platform().await;
        self.organization_by(&platform, slug).await
    }

    /// The same in the name of somebody who is logged in.
    pub async fn organization_by(&self, platform: &str, slug: &str) -> Organization {
        let (email, password) = (format!("admin@{slug}.test"), PASSWORD);
        let made = self.create(platform, slug, Some(json!({ "email": email, "password": password }))).await;
        let token = self.log_in(&email, password, slug).await;
        Organization { id: made["id"].as_str().expect("an id").to_owned(), token }
    }

    /// Somebody new in an organization.
    pub async fn member(&self, organization: &Organization, slug: &str, name: &str, role: &str) -> Member {
        let body = json!({ "email": format!("{name}@{slug}.test"), "password": PASSWORD, "role": role });
        let create = organization.request("POST", "/users", &[], body.to_string().as_bytes());
        let answer = http::once(self.addresses[0], &create, ANSWER).await.expect("an answer");
        assert_eq!(answer.status, 201, "create a user: {}", answer.text());
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let at = Organization { id: organization.id.clone(), token: String::new() };
        self.again(&Member { id, at }, slug, name).await
    }

    /// The same somebody with a new token.
    pub async fn again(&self, member: &Member, slug: &str, name: &str) -> Member {
        let token = self.log_in(&format!("{name}@{slug}.test"), PASSWORD, slug).await;
        Member { id: member.id.clone(), at: Organization { id: member.at.id.clone(), token } }
    }

    /// Creates an organization.
    pub async fn create(&self, platform: &str, slug: &str, admin: Option<Value>) -> Value {
        let (domain, mail) = (format!("{slug}.test"), format!("billing@{slug}.test"));
        let mut body = json!({
            "name": slug, "slug": slug, "domain": domain, "plan": "enterprise",
            "billing_email": mail, "contact_info": { "email": mail },
        });
        if let Some(admin) = admin {
            body["admin"] = admin;
        }
        let answer = self.post("/api/v2/organizations", Some(platform), &body).await;
        assert_eq!(answer.status, 201, "create an organization: {}", answer.text());
        answer.json()
    }

    async fn log_in(&self, email: &str, password: &str, organization: &str) -> String {
        let body = json!({ "email": email, "password": password, "organization": organization });
        let answer = self.post("/api/v2/auth/login", None, &body).await;
        assert_eq!(answer.status, 200, "log in: {}", answer.text());
        answer.json()["tokens"]["access_token"].as_str().expect("a token").to_owned()
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let request = http::request("POST", path, &headers, body.to_string().as_bytes());
        http::once(self.addresses[0], &request, ANSWER).await.expect("an answer")
    }

    /// A request with a token, and a body if there is one, at a node.
    pub async fn ask(
        &self,
        node: usize,
        (method, path): (&str, &str),
        token: &str,
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = http::request(method, path, &[("authorization", &bearer)], body.as_bytes());
        http::once(self.addresses[node], &request, ANSWER).await.expect("an answer")
    }

    /// Kills all nodes at once; their data is gone, too.
    pub async fn destroy(self) {
        let nodes = (0..self.nodes()).filter(|_| self.nodes() > 1).map(|node| self.pid(node));
        let mut pids: Vec<u32> = nodes.map(|pid| pid.expect("a running node")).collect();
        // Who would start them again, too.
        pids.push(self.process.pid());
        process::kill_all(&pids).await;
    }

    pub async fn stop(self) {
        self.process.stop(Duration::from_secs(30)).await;
    }

    /// Stops the node in an orderly way, or kills it; its folder stays.
    pub async fn leave(self, orderly: bool) -> TempDir {
        if orderly {
            self.process.stop(Duration::from_secs(30)).await
        } else {
            self.process.kill()
        }
        self.folder
    }

    /// Starts one node in a folder that was used before; it may not be ready yet.
    pub fn resume(options: &Options, folder: TempDir) -> Self {
        let product = one(options, folder, &[]);
        let password = fs::read_to_string(product.password_file()).expect("the administrator's password");
        Self { password: password.trim().to_owned(), ..product }
    }

    /// Starts one node in a folder that something else has filled; nobody's password is known.
    pub fn over(options: &Options, folder: TempDir) -> Self {
        one(options, folder, &[])
    }

    /// The folder of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        let own = self.folder.path().join(format!("node-{}", node + 1));
        if self.nodes() == 1 { self.folder.path().to_owned() } else { own }
    }

    /// The value of a metric at a node that answers, its labels as they are written there.
    pub async fn metric(&self, node: usize, name: &str) -> Option<f64> {
        let question = http::request("GET", "/metrics", &[], b"");
        let page = http::once(self.addresses[node], &question, ANSWER).await?.text().to_string();
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn password_file(&self) -> PathBuf {
        self.data(0).join("initial-admin-password")
    }
}

/// Whether a node takes requests.
pub async fn is_ready(address: SocketAddr) -> bool {
    let question = http::request("GET", "/readyz", &[], b"");
    http::once(address, &question, ANSWER).await.is_some_and(|answer| answer.status == 200)
}

fn one(options: &Options, folder: TempDir, settings: &[(&str, &str)]) -> Product {
    let (listen, peers) = (process::free_address(), process::free_address());
    let mut command = Command::new(&options.binary);
    command.args(["serve", "--die-with-parent", "--listen", &listen.to_string()]);
    command
        .args(["--peer-listen", &peers.to_string(), "--data-dir"])
        .arg(folder.path())
        .stdout(Stdio::null());
    let process = Process::start(set(command, settings), &folder.path().join("stderr.log"));
    Product { addresses: vec![listen], folder, password: String::new(), process }
}

fn several(options: &Options, nodes: usize, folder: TempDir, settings: &[(&str, &str)]) -> Product {
    let base = process::base_port(u16::try_from(nodes).unwrap());
    let mut command = Command::new(&options.binary);
    command.args(["demo", "--nodes", &nodes.to_string(), "--base-port", &base.to_string(), "--data-dir"]);
    command.arg(folder.path()).stdout(Stdio::piped());
    let log = folder.path().join("demo.log");
    let mut process = Process::start(set(command, settings), &log);
    let addresses = told(&mut process, &log);
    Product { addresses, folder, password: String::new(), process }
}

/// The addresses in the demo's one line.
fn told(process: &mut Process, log: &Path) -> Vec<SocketAddr> {
    let mut line = String::new();
    BufReader::new(process.stdout()).read_line(&mut line).expect("the demo's line");
    let told: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
        panic!("the demo said {line:?}: {}", fs::read_to_string(log).unwrap_or_default())
    });
    let urls = told["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["url"].as_str());
    urls.map(|url| url.trim_start_matches("http://").parse().expect("an address")).collect()
}

/// What the environment configures must not reach what is measured, but for what the measurement sets.
pub fn set(mut command: Command, settings: &[(&str, &str)]) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("THREATFLOW_"))
    {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}
