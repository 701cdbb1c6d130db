//! `threatflow cluster`: state of a cluster, and tokens for nodes that join it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{admin::Admin, verify::verify};
use crate::node::Failure;

/// Ask a cluster about itself, and let nodes in.
#[derive(Args)]
#[command(after_help = "Example: threatflow cluster status --password-file ./data/initial-admin-password")]
pub(super) struct ClusterArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Mint a one-time token that admits one node; printed alone on stdout
    #[command(
        after_help = "Example: threatflow serve --node-id 2 --join $(threatflow cluster token --ttl 600 \
                            --password-file ./data/initial-admin-password)"
    )]
    Token {
        #[command(flatten)]
        access: Access,
        /// Seconds until the token ends, at most 86400
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        ttl: u32,
    },
    /// Show nodes, roles and lag
    #[command(after_help = "Example: threatflow cluster status --server http://127.0.0.1:8080 --json")]
    Status {
        #[command(flatten)]
        access: Access,
        /// Print the answer as it came
        #[arg(long)]
        json: bool,
    },
    /// Make a voter of a learner
    #[command(after_help = "Example: threatflow cluster promote 4")]
    Promote {
        #[command(flatten)]
        access: Access,
        /// The node's number
        node: u64,
    },
    /// Make a learner of a voter; it stays one until it is promoted
    #[command(after_help = "Example: threatflow cluster demote 3")]
    Demote {
        #[command(flatten)]
        access: Access,
        /// The node's number
        node: u64,
        /// Even if less than a majority of the other voters answer
        #[arg(long)]
        force: bool,
    },
    /// Remove a node, a dead one too; its number is never given again
    #[command(after_help = "Example, replacing a dead node 3: threatflow cluster remove 3, then on the new \
                            machine: threatflow serve --node-id 4 --join $(threatflow cluster token)")]
    Remove {
        #[command(flatten)]
        access: Access,
        /// The node's number
        node: u64,
        /// Even if less than a majority of the other voters answer
        #[arg(long)]
        force: bool,
    },
    /// Hand the leadership to a node
    #[command(after_help = "Example: threatflow cluster transfer 2")]
    Transfer {
        #[command(flatten)]
        access: Access,
        /// The node's number
        node: u64,
    },
    /// Make the asked node's files durable now, and cut its log below
    #[command(after_help = "Example: threatflow cluster snapshot --server http://127.0.0.1:9002")]
    Snapshot {
        #[command(flatten)]
        access: Access,
    },
    /// Compare the content of every file on all nodes
    #[command(after_help = "Example: threatflow cluster verify")]
    Verify {
        #[command(flatten)]
        access: Access,
    },
}

/// Where, and as whom.
#[derive(Args)]
struct Access {
    /// Any node of the cluster
    #[arg(long, value_name = "URL", env = "THREATFLOW_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// E-mail address of a platform administrator [default: admin@localhost]
    #[arg(long, value_name = "ADDRESS", env = "THREATFLOW_EMAIL")]
    email: Option<String>,
    /// Holds that administrator's password
    #[arg(
        long,
        value_name = "FILE",
        env = "THREATFLOW_PASSWORD_FILE",
        default_value = "./data/initial-admin-password"
    )]
    password_file: PathBuf,
}

impl Access {
    async fn admin(&self) -> Result<Admin, Failure> {
        Admin::log_in(&self.server, self.email.as_deref(), &self.password_file).await
    }
}

/// Runs it.
pub(super) async fn run(args: ClusterArgs) -> Result<(), Failure> {
    match args.command {
        Subcommands::Token { access, ttl } => say(&access.admin().await?.join_token(ttl).await?),
        Subcommands::Status { access, json } => {
            let status = access.admin().await?.cluster().await?;
            say(&if json { status.to_string() } else { table(&status) })
        }
        Subcommands::Promote { access, node } => change(&access, "promote", node, false).await,
        Subcommands::Demote { access, node, force } => change(&access, "demote", node, force).await,
        Subcommands::Remove { access, node, force } => change(&access, "remove", node, force).await,
        Subcommands::Transfer { access, node } => change(&access, "transfer", node, false).await,
        Subcommands::Snapshot { access } => {
            let made = access.admin().await?.snapshot().await?;
            say(&format!("durable up to entry {}", made.get("checkpoint_index").unwrap_or(&Value::Null)))
        }
        Subcommands::Verify { access } => say(&verify(&access.admin().await?).await?),
    }
}

async fn change(access: &Access, change: &str, node: u64, force: bool) -> Result<(), Failure> {
    let admin = access.admin().await?;
    admin.change(change, node, force).await?;
    say(&table(&admin.cluster().await?))
}

fn table(status: &Value) -> String {
    let show = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let leader = status.get("leader");
    let mut lines = vec![format!(
        "{:<5} {:<9} {:<9} {:>8}  {:<12} {:<22} {}",
        "node", "role", "votes", "lag", "zone", "peers", "api"
    )];
    for member in status.get("members").and_then(Value::as_array).into_iter().flatten() {
        let node = member.get("node");
        let role = if node == leader { "leader" } else { "follower" };
        let votes = if member.get("voter") == Some(&Value::Bool(true)) { "voter" } else { "learner" };
        let votes = if member.get("standby") == Some(&Value::Bool(true)) { "standby" } else { votes };
        let (lag, zone) = (show(member.get("lag")), show(member.get("zone")));
        let (peers, api) = (show(member.get("peer_address")), show(member.get("api_url")));
        lines.push(format!("{:<5} {role:<9} {votes:<9} {lag:>8}  {zone:<12} {peers:<22} {api}", show(node)));
    }
    let (asked, term, applied) =
        (show(status.get("node")), show(status.get("term")), show(status.get("applied_index")));
    lines.push(match status.get("failure_tolerance").and_then(Value::as_u64) {
        Some(spare) => format!(
            "asked node {asked}, the leader: term {term}, applied {applied}; {spare} voters may be lost"
        ),
        None => format!(
            "asked node {asked}: term {term}, applied {applied}; only the leader knows lag and tolerance"
        ),
    });
    for member in status.get("members").and_then(Value::as_array).into_iter().flatten() {
        let alarms = member.pointer("/about/alarms").and_then(Value::as_object);
        for (file, alarm) in alarms.into_iter().flatten() {
            let (found, detail) = (show(alarm.get("found")), show(alarm.get("detail")));
            lines.push(format!("ALARM node {} file {file} {found}: {detail}", show(member.get("node"))));
        }
    }
    lines.join("\n")
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}")
        .map_err(|error| Failure::new(format!("stdout cannot be written: {error}"), "check where it leads"))
}
