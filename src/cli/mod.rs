//! The command line: one file per subcommand.
//!
//! What always holds: every help has an example; what goes wrong is one line on stderr, `threatflow:
//! what; what to do`; exit codes are 0 done, 1 not done, 2 wrong usage, 70 this node met a fault.
//!
//! Must not know: anything but how to start a node and how to ask one over HTTP. Start here.

mod access;
mod admin;
mod backup;
mod client;
mod cluster;
mod demo;
mod doctor;
mod import;
mod level;
mod live;
mod place;
mod recover;
mod restore;
mod rotate;
mod serve;
mod status;
mod unseal;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::node::Failure;

/// Enterprise features of a threat-intelligence platform, in one binary on an embedded replicated store.
///
/// Without a subcommand it serves: one node on http://127.0.0.1:8080 with its data in ./data.
#[derive(Parser)]
#[command(
    name = "threatflow",
    version,
    after_help = "Example: threatflow serve --data-dir /var/lib/threatflow --listen 127.0.0.1:8080\n\
                  Exit codes: 0 done, 1 not done, 2 wrong usage, 70 this node met a fault"
)]
struct Line {
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run a node
    Serve(serve::ServeArgs),
    /// Run a whole cluster on this machine, to try it
    Demo(demo::DemoArgs),
    /// Import a STIX 2.1 bundle into an organization
    #[command(
        after_help = "Example: threatflow import bundle.json --organization acme --email ann@acme.example \
                            --password-file ./password"
    )]
    Import(import::ImportArgs),
    /// Ask a cluster about itself, and let nodes in
    Cluster(cluster::ClusterArgs),
    /// Look whether a node is set up as it should be
    Doctor(doctor::DoctorArgs),
    /// Change what opens a stopped node's keyring
    Seal(doctor::SealArgs),
    /// Show the level in force and what every node can, or raise it
    Level(level::LevelArgs),
    /// Back up: where to, how far it is, whether it is whole
    Backup(backup::BackupArgs),
    /// Restore from a backup, with nothing but the bucket and the recovery key
    Restore(restore::RestoreArgs),
    /// The way back in for who is locked out, on a node's own console
    Recover(recover::RecoverArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    allocator::give_back_at_once();
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => return misread(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&Failure::new(
                format!("no threads could be started: {error}"),
                "raise the limits",
            ));
        }
    };
    let outcome = runtime
        .block_on(run(line.command.unwrap_or_else(|| Subcommands::Serve(serve::ServeArgs::default()))));
    // Whatever still runs was cut off or does not matter.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

async fn run(command: Subcommands) -> Result<(), Failure> {
    match command {
        Subcommands::Serve(args) => serve::run(args).await,
        Subcommands::Demo(args) => demo::run(args).await,
        Subcommands::Import(args) => {
            let again = "correct it and run the same command again: what is in is not imported twice";
            import::run(args).await.map_err(|what| Failure::new(what, again))
        }
        Subcommands::Cluster(args) => cluster::run(args).await,
        Subcommands::Doctor(args) => doctor::examined(args),
        Subcommands::Seal(args) => doctor::sealed(args),
        Subcommands::Level(args) => level::run(args).await,
        Subcommands::Backup(args) => backup::run(args).await,
        Subcommands::Restore(args) => restore::run(args).await,
        Subcommands::Recover(args) => recover::run(args).await,
    }
}

fn failed(failure: &Failure) -> ExitCode {
    failure.say();
    ExitCode::from(failure.code())
}

/// Help and version go to stdout as asked; everything else becomes one line on stderr.
fn misread(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let what: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    let what = what.split(" For more information").next().unwrap_or_default();
    failed(&Failure::usage(what, "see `threatflow --help`, or `threatflow COMMAND --help`"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Line;

    #[test]
    fn the_command_line_is_consistent_and_every_help_has_an_example() {
        let mut line = Line::command();
        line.build();
        line.clone().debug_assert();
        let mut waiting = vec![line];
        while let Some(command) = waiting.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains("Example") || name == "help", "{name} has no example");
            waiting.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
        }
    }
}
