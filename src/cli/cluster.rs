//! `threatflow cluster`: state of a cluster, and tokens for nodes that join it.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    access::{Access, say},
    rotate,
    status::table,
    verify::verify,
};
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
    /// Show nodes, roles, lag, disks, certificates and warnings
    #[command(after_help = "Example: threatflow cluster status --server http://127.0.0.1:8080 --json")]
    Status {
        #[command(flatten)]
        access: Access,
        /// Print the answer as it came
        #[arg(long)]
        json: bool,
        /// What the asked node knows by itself, without a login: when there is no quorum to log in with
        #[arg(long)]
        local: bool,
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
    /// Replace the cluster key, which wraps the key of every file
    #[command(after_help = "Example: threatflow cluster rotate-key --wait 600")]
    RotateKey {
        #[command(flatten)]
        access: Access,
        /// Seconds to wait for its end; it goes on without
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        wait: u64,
    },
    /// Replace the cluster's certificate authority, without a pause; join tokens made before end with it
    #[command(name = "rotate-ca", after_help = "Example: threatflow cluster rotate-ca --wait 600")]
    RotateCa {
        #[command(flatten)]
        access: Access,
        /// Seconds to wait for its end; asked again, it goes on where it is
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        wait: u64,
    },
    /// Have every node issue itself a fresh certificate now (it does so every month)
    #[command(after_help = "Example: threatflow cluster rotate-certificates")]
    RotateCertificates {
        #[command(flatten)]
        access: Access,
    },
    /// Publish a new key for access tokens; it takes over in ten minutes, and nobody has to log in anew
    #[command(
        after_help = "Example, when a key was stolen: threatflow cluster rotate-signing-key --revoke-others"
    )]
    RotateSigningKey {
        #[command(flatten)]
        access: Access,
        /// Use it at once: every access token there is ends now, and clients refresh theirs
        #[arg(long)]
        revoke_others: bool,
    },
    /// Compare the content of every file on all nodes
    #[command(after_help = "Example: threatflow cluster verify")]
    Verify {
        #[command(flatten)]
        access: Access,
    },
}

/// Runs it.
pub(super) async fn run(args: ClusterArgs) -> Result<(), Failure> {
    match args.command {
        Subcommands::Token { access, ttl } => say(&access.admin().await?.join_token(ttl).await?),
        Subcommands::Status { access, json, local } => {
            let status = if local { access.local().await? } else { access.admin().await?.cluster().await? };
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
        Subcommands::RotateCa { access, wait } => {
            say(&rotate::authority(&access.admin().await?, Duration::from_secs(wait)).await?)
        }
        Subcommands::RotateCertificates { access } => {
            say(&rotate::certificates(&access.admin().await?).await?)
        }
        Subcommands::RotateKey { access, wait } => {
            say(&rotate::key(&access.admin().await?, Duration::from_secs(wait)).await?)
        }
        Subcommands::RotateSigningKey { access, revoke_others } => {
            let kid = access.admin().await?.rotate_signing_key(revoke_others).await?;
            let when = if revoke_others {
                "signs now, and all others are revoked"
            } else {
                "is published, and signs in ten minutes"
            };
            say(&format!("signing key {kid} {when}"))
        }
        Subcommands::Verify { access } => say(&verify(&access.admin().await?).await?),
    }
}

async fn change(access: &Access, change: &str, node: u64, force: bool) -> Result<(), Failure> {
    let admin = access.admin().await?;
    admin.change(change, node, force).await?;
    say(&table(&admin.cluster().await?))
}
