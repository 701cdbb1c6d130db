//! `threatflow serve`: run a node.

use std::path::PathBuf;

use clap::Args;

use crate::node::{self, Failure, NodeConfig, Parent};

/// Run a node.
///
/// The first start begins a cluster of one, or joins one with --join. Configuration comes from a file, then
/// THREATFLOW_* variables (THREATFLOW_LISTEN ...), then these flags; the later wins.
#[derive(Args, Default)]
#[command(after_help = "Example: threatflow serve --data-dir /var/lib/threatflow --listen 127.0.0.1:8080\n\
                        Example: threatflow serve --node-id 2 --data-dir ./n2 --listen 127.0.0.1:8082 \
                        --peer-listen 127.0.0.1:8092 --join tfj1....")]
pub(super) struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "THREATFLOW_CONFIG")]
    config: Option<PathBuf>,
    /// Where all data lies [default: ./data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Where the API listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the node listens for its peers [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDRESS")]
    peer_listen: Option<String>,
    /// What peers connect to, host:port [default: the address of --peer-listen]
    #[arg(long, value_name = "ADDRESS")]
    peer_advertise: Option<String>,
    /// This node's number, different on every node [default: 1]
    #[arg(long, value_name = "NUMBER")]
    node_id: Option<String>,
    /// Join a cluster with a one-time token instead of beginning one
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// The URL under which clients reach the API [default: made from --listen]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// The URL under which people reach the cluster, the same on every node: passkeys belong to its host
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// What opens the keyring: file:PATH, credential:NAME, passphrase:PATH, passphrase [default: data_dir, nothing]
    #[arg(long, value_name = "SEAL")]
    seal: Option<String>,
    /// What is logged: a level, or a list such as info,raft=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Stop when standard input ends
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

/// Runs it.
pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let parent = if args.die_with_parent { Parent::HoldsStdin } else { Parent::None };
    let config = configured(args.config.clone(), args.flags())?;
    node::run(config, parent).await
}

/// The configuration as a file, the environment and flags make it.
pub(super) fn configured(
    file: Option<PathBuf>,
    flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
) -> Result<NodeConfig, Failure> {
    // Text that is not UTF-8 cannot be a value of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let file = file.or_else(|| std::env::var_os("THREATFLOW_CONFIG").map(PathBuf::from));
    let flags = flags.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    NodeConfig::load(file.as_deref(), environment, flags)
}

impl ServeArgs {
    fn flags(self) -> [(&'static str, Option<String>); 10] {
        [
            ("data_dir", self.data_dir),
            ("listen", self.listen),
            ("peer_listen", self.peer_listen),
            ("peer_advertise", self.peer_advertise),
            ("node_id", self.node_id),
            ("join", self.join),
            ("api_url", self.api_url),
            ("public_url", self.public_url),
            ("log", self.log),
            ("seal", self.seal),
        ]
    }
}
