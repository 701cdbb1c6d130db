//! Configuration: a file, then the environment, then flags; the later wins. Start at `keys.rs`.

mod keys;
mod sources;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use keys::{KEYS, Key};

use super::{Failure, Seal};
use crate::{app::ScrubPace, features::identity::HashCost, kernel::Network};

/// How a node runs. What each key means is in [`KEYS`], and in `packaging/threatflow.toml`.
#[derive(Clone)]
pub struct NodeConfig {
    /// Where all data lies.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where metrics and verbose probes are served besides; nowhere when absent.
    pub management_listen: Option<SocketAddr>,
    /// Where the node listens for its peers.
    pub peer_listen: SocketAddr,
    /// What peers connect to; the address of `peer_listen` when absent.
    pub peer_advertise: Option<String>,
    /// The URL under which clients reach the API; made from `listen` when absent.
    pub api_url: Option<String>,
    /// The URL under which people reach the cluster, the same on every node: who tokens say they were issued by, and
    /// whose host passkeys belong to. Without it tokens say `threatflow`, and passkeys belong to `localhost`.
    pub public_url: Option<String>,
    /// Proxies that are believed when they say whom they forward for.
    pub trusted_proxies: Vec<Network>,
    /// This node's id.
    pub node_id: u64,
    /// Where this node stands, as its operator calls it.
    pub zone: String,
    /// What opens the keyring.
    pub seal: Seal,
    /// How long a joiner keeps up before it votes, once there are three voters.
    pub stabilization: Duration,
    /// How long a voter may be silent before the leader removes it; zero for ever.
    pub dead_server_cleanup: Duration,
    /// Voters that no such removal goes below.
    pub min_quorum: usize,
    /// A one-time token: join that cluster instead of beginning one.
    pub join: Option<String>,
    /// Holds the first administrator's password.
    pub admin_password_file: Option<PathBuf>,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Most connections open at a time.
    pub connections_max: usize,
    /// How long a client may take to send the head of a request, or stay silent between two.
    pub header_timeout: Duration,
    /// How long a stop waits for running requests.
    pub drain: Duration,
    /// Time between heartbeats of a leader.
    pub heartbeat: Duration,
    /// Shortest time without a heartbeat before an election; the longest is twice that.
    pub election: Duration,
    /// How often the files are made durable and the log cut.
    pub checkpoint: Duration,
    /// Entries kept in the log below that, for a node that was away for a moment.
    pub log_keep_entries: u64,
    /// Threads that apply entries of different organizations side by side.
    pub apply_workers: usize,
    /// How files are read through to find damage.
    pub scrub: ScrubPace,
    /// What the hash of a password costs.
    pub password_cost: HashCost,
    /// Which name server is asked for domains' challenges; the system's own when absent.
    pub dns_server: Option<SocketAddr>,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            management_listen: None,
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            peer_advertise: None,
            api_url: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            node_id: 1,
            zone: String::new(),
            seal: Seal::DataDir,
            stabilization: Duration::from_secs(10),
            dead_server_cleanup: Duration::ZERO,
            min_quorum: 3,
            join: None,
            admin_password_file: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            connections_max: 4096,
            header_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            heartbeat: Duration::from_millis(75),
            election: Duration::from_millis(300),
            checkpoint: Duration::from_secs(5),
            log_keep_entries: 20_000,
            apply_workers: cores(),
            scrub: ScrubPace { cycle: Duration::from_hours(24), bytes_per_s: 8 << 20 },
            password_cost: HashCost::DEFAULT,
            dns_server: None,
        }
    }
}

/// More than 16 were not tried.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(16)
}

impl NodeConfig {
    /// Reads every source; lists everything that is wrong, with where it stands and what would be right.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, Failure> {
        let mut wrong = Vec::new();
        let mut config = Self::default();
        let mut settings = match file {
            Some(path) => sources::from_file(path, &mut wrong)?,
            None => Vec::new(),
        };
        settings.extend(sources::from_environment(environment, &mut wrong));
        settings.extend(sources::from_flags(flags));
        for setting in settings {
            wrong.extend(setting.apply(&mut config).err());
        }
        wrong.extend(config.contradiction());
        if wrong.is_empty() {
            return Ok(config);
        }
        Err(Failure::usage(wrong.join("; "), format!("known keys: {}", keys::names())))
    }

    /// Reads a configuration file that holds `text`; the fuzzer's way in.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let settings =
            sources::from_text("fuzz.toml", text, &mut Vec::new()).map_err(|wrong| wrong.to_string())?;
        for setting in settings {
            setting.apply(&mut config)?;
        }
        config.contradiction().map_or(Ok(config), Err)
    }

    /// What peers connect to.
    pub fn peer_address(&self) -> String {
        self.peer_advertise.clone().unwrap_or_else(|| self.peer_listen.to_string())
    }

    /// The URL under which people reach the cluster, once this node listens on `listening`.
    pub fn public_url(&self, listening: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://localhost:{}", listening.port()))
    }

    /// The URL of the API, once it listens on `listening`.
    pub fn url(&self, listening: SocketAddr) -> String {
        if let Some(url) = &self.api_url {
            return url.clone();
        }
        if !listening.ip().is_unspecified() {
            return format!("http://{listening}");
        }
        // It listens everywhere: what peers reach is the best guess at what clients reach.
        let peer = self.peer_address();
        let host = peer.rsplit_once(':').map_or(peer.as_str(), |(host, _)| host);
        format!("http://{host}:{}", listening.port())
    }

    /// What no single key can know.
    fn contradiction(&self) -> Option<String> {
        if !self.password_cost.is_sound() {
            return Some("password_memory_kib must be at least eight times password_lanes".to_owned());
        }
        if self.peer_listen.ip().is_unspecified() && self.peer_advertise.is_none() {
            let listen = self.peer_listen;
            return Some(format!(
                "peer_listen {listen} is every address, and peers must know one: set peer_advertise to a host and port"
            ));
        }
        if self.election < self.heartbeat * 3 {
            return Some("election_ms must be at least three times heartbeat_ms".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests;
