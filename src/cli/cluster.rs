//! `threatflow cluster`: state of a cluster, and tokens for nodes that join it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin::Admin;
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
    }
}

fn table(status: &Value) -> String {
    let show = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let leader = status.get("leader");
    let mut lines =
        vec![format!("{:<5} {:<9} {:<9} {:>8}  {:<22} {}", "node", "role", "votes", "lag", "peers", "api")];
    for member in status.get("members").and_then(Value::as_array).into_iter().flatten() {
        let node = member.get("node");
        let role = if node == leader { "leader" } else { "follower" };
        let votes = if member.get("voter") == Some(&Value::Bool(true)) { "voter" } else { "learner" };
        let (lag, peers, api) =
            (show(member.get("lag")), show(member.get("peer_address")), show(member.get("api_url")));
        lines.push(format!("{:<5} {role:<9} {votes:<9} {lag:>8}  {peers:<22} {api}", show(node)));
    }
    let (asked, term, applied) =
        (show(status.get("node")), show(status.get("term")), show(status.get("applied_index")));
    lines.push(format!("asked node {asked}: term {term}, applied {applied}; only the leader knows lag"));
    lines.join("\n")
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}")
        .map_err(|error| Failure::new(format!("stdout cannot be written: {error}"), "check where it leads"))
}
