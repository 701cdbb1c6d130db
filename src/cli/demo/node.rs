//! One child process.

use std::{
    fs::OpenOptions,
    future::pending,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    cli::client::Client,
    node::{Failure, PASSWORD_FILE, is_member},
};

/// Variables that say what a single node should do; a child is told by flags.
const NOT_INHERITED: &[&str] = &[
    "THREATFLOW_CONFIG",
    "THREATFLOW_JOIN",
    "THREATFLOW_API_URL",
    "THREATFLOW_PEER_ADVERTISE",
    "THREATFLOW_MANAGEMENT_LISTEN",
    "THREATFLOW_LOG_FORMAT",
];
const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One node of the demo.
pub(super) struct Node {
    pub(super) id: u16,
    root: PathBuf,
    listen: String,
    peer_listen: String,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run yet.
    pub(super) fn new(root: &Path, id: u16, base_port: u16) -> Self {
        let address = |offset: u16| format!("127.0.0.1:{}", base_port.saturating_add(offset));
        Self { id, root: root.to_owned(), listen: address(id), peer_listen: address(100 + id), child: None }
    }

    /// Where its API is.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Where it logs.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join(format!("node-{}.log", self.id))
    }

    /// Where the first administrator's password lies, if this node began the cluster.
    pub(super) fn password_file(&self) -> PathBuf {
        self.data().join(PASSWORD_FILE)
    }

    /// Whether it belongs to the cluster already.
    pub(super) fn is_member(&self) -> bool {
        is_member(&self.data())
    }

    /// Refuses ports that something else uses.
    pub(super) fn check_ports(&self) -> Result<(), Failure> {
        for address in [&self.listen, &self.peer_listen] {
            std::net::TcpListener::bind(address).map_err(|error| {
                let what = format!("node {} cannot have {address}: {error}", self.id);
                Failure::new(what, "stop what uses the port, or choose others with --base-port")
            })?;
        }
        Ok(())
    }

    /// Starts its process.
    pub(super) fn spawn(&mut self, join: Option<&str>) -> Result<(), Failure> {
        let broken = |error: std::io::Error| {
            Failure::new(
                format!("node {} cannot be started: {error}", self.id),
                "check the data folder and this executable",
            )
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(broken)?;
        let mut command = Command::new(std::env::current_exe().map_err(broken)?);
        command.args(["serve", "--die-with-parent", "--node-id", &self.id.to_string()]);
        command
            .args(["--listen", &self.listen, "--peer-listen", &self.peer_listen, "--data-dir"])
            .arg(self.data());
        if let Some(token) = join {
            command.args(["--join", token]);
        }
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C at a terminal reaches the whole group: the children are stopped by us, once.
        command.process_group(0);
        self.child = Some(command.spawn().map_err(broken)?);
        Ok(())
    }

    /// Waits until it takes requests.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + READY_WITHIN;
        let client = Client::new(&self.url()).map_err(|why| Failure::new(why, "report this"))?;
        loop {
            if client.get("/readyz?verbose", ANSWER_WITHIN).await.is_ok() {
                return Ok(());
            }
            let exited = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if exited.is_some() || Instant::now() > until {
                return Err(self.not_ready(exited.is_some()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until its process ends; says how.
    pub(super) async fn ended(&mut self) -> String {
        let Some(child) = &mut self.child else { return pending().await };
        // `wait` of the child would close its standard input, which tells it to stop.
        let kept = child.stdin.take();
        let how = child.wait().await;
        drop(kept);
        how.map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    /// Stops its process: by the end of its standard input, then by force.
    pub(super) async fn stop(&mut self, within: Duration) {
        let Some(mut child) = self.child.take() else { return };
        drop(child.stdin.take());
        if timeout(within, child.wait()).await.is_err() {
            eprintln!("threatflow: node {} did not stop in time and was killed", self.id);
            let _ = child.kill().await;
        }
    }

    fn data(&self) -> PathBuf {
        self.root.join(format!("node-{}", self.id))
    }

    fn not_ready(&self, exited: bool) -> Failure {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let said = text.lines().rev().find_map(|line| line.strip_prefix("threatflow: "));
        let what = if exited { "ended while it started" } else { "did not become ready in time" };
        let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
        Failure::new(format!("node {} {what}{said}", self.id), format!("see {}", self.log().display()))
    }
}
