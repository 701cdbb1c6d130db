//! `threatflow recover`: the way back in for an installation or an organization that is locked out.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    access::say,
    client::{CallError, Client},
    serve,
};
use crate::node::{Failure, recovery_statement};

const WITHIN: Duration = Duration::from_secs(30);

/// The way back in for who is locked out, on a node's own console
#[derive(Args)]
#[command(after_help = "Example: threatflow recover admin --config /etc/threatflow/threatflow.toml")]
pub(super) struct RecoverArgs {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Have an administrator choose a new password; proven by this node's keyring, and an alarm in the audit trail
    #[command(after_help = "Example: threatflow recover admin --config /etc/threatflow/threatflow.toml\n\
                      Example: threatflow recover admin --data-dir ./data --organization acme --email ann@acme.example")]
    Admin(AdminArgs),
}

#[derive(Args)]
struct AdminArgs {
    /// The node's configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "THREATFLOW_CONFIG")]
    config: Option<PathBuf>,
    /// Where the node's data lies [default: as configured]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Any node of the cluster
    #[arg(long, value_name = "URL", env = "THREATFLOW_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Id or slug of an organization; `system` for the installation's own administrators
    #[arg(long, value_name = "NAME", default_value = "system")]
    organization: String,
    /// The administrator's address [default: the active one who was created first]
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

/// Runs it.
pub(super) async fn run(args: RecoverArgs) -> Result<(), Failure> {
    let Subcommands::Admin(args) = args.command;
    let config = serve::configured(args.config, [("data_dir", args.data_dir)])?;
    let statement = recovery_statement(&config, args.organization, args.email)?;
    let client = Client::new(&args.server).map_err(|why| Failure::usage(why, "name a node with --server"))?;
    let body = Bytes::from(json!({ "statement": statement }).to_string());
    let answer = client.post("/api/v2/cluster/recovery", &[], body, WITHIN).await.map_err(refused)?;
    let field = |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let server = client.server();
    say(&format!(
        "user {}\ntoken {}\nholds until {}\n\
         choose a new password with it:\n\
         curl -X POST {server}/api/v2/auth/password/reset -H 'content-type: application/json' \
         -d '{{\"token\":\"...\",\"password\":\"...\"}}'",
        field("user"),
        field("token"),
        field("expires_at"),
    ))
}

fn refused(error: CallError) -> Failure {
    match error {
        CallError::Refused(answer) if answer.status == 401 => Failure::new(
            "the node does not take this keyring's word",
            "run this on a node of the same cluster, with its own keyring, and with clocks that agree",
        ),
        CallError::Refused(answer) if answer.status == 404 => Failure::new(
            "there is no such organization, or no active administrator of that address in it",
            "check --organization and --email",
        ),
        CallError::Refused(answer) => {
            Failure::new(format!("the node answered {}: {}", answer.status, answer.body), "see its log")
        }
        CallError::Unreachable(why) => Failure::new(why, "name a node that runs with --server"),
    }
}
