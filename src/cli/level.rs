//! `threatflow level`: which level is in force, what every node can, and raising it.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    access::{Access, say, show},
    admin::Admin,
};
use crate::node::Failure;

/// Show the level in force and what every node can, or raise it
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example, after every node runs the new version: threatflow level raise\n\
                  A level is never lowered: before it is raised, every node may go back to the old version."
)]
pub(super) struct LevelArgs {
    #[command(flatten)]
    access: Access,
    /// Print the answer as it came
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Raise the level; refused while a node cannot work at it, or does not answer
    #[command(after_help = "Example: threatflow level raise --to 2")]
    Raise {
        #[command(flatten)]
        access: Access,
        /// The level [default: the highest that every node can]
        #[arg(long, value_name = "LEVEL")]
        to: Option<u32>,
    },
}

/// Runs it.
pub(super) async fn run(args: LevelArgs) -> Result<(), Failure> {
    match args.command {
        None => {
            let status = args.access.admin().await?.level().await?;
            say(&if args.json { status.to_string() } else { table(&status) })
        }
        Some(Subcommands::Raise { access, to }) => raise(&access.admin().await?, to).await,
    }
}

async fn raise(admin: &Admin, to: Option<u32>) -> Result<(), Failure> {
    let status = admin.level().await?;
    let highest = status.get("level_max").and_then(Value::as_u64).and_then(|level| u32::try_from(level).ok());
    let Some(to) = to.or(highest) else {
        let fix = "start the node that does not answer, or remove it with `threatflow cluster remove`";
        return Err(Failure::new(format!("not every node says what it can\n{}", table(&status)), fix));
    };
    say(&table(&admin.raise_level(to).await?))
}

fn table(status: &Value) -> String {
    let of = |name: &str| show(status.get(name));
    let since = match status.get("raised_at") {
        None | Some(Value::Null) => String::new(),
        Some(_) => format!(" since {}, by {}", of("raised_at"), of("raised_by")),
    };
    let mut lines = vec![
        format!("level {} is in force{since}; every node can: {}", of("level"), of("level_max")),
        format!("{:<5} {:<16} {:>9} {:>12}", "node", "version", "can level", "files below"),
    ];
    for node in status.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| show(node.get(name));
        lines.push(match node.get("unknown") {
            Some(why) => format!("{:<5} does not answer: {}", of("node"), show(Some(why))),
            None => format!(
                "{:<5} {:<16} {:>9} {:>12}",
                of("node"),
                of("version"),
                of("level_max"),
                of("files_below")
            ),
        });
    }
    lines.join("\n")
}
