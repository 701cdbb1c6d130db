//! `threatflow demo`: a whole cluster of real processes on this machine.
//!
//! The children are this same executable. Each holds the end of a pipe as its standard input and stops when
//! that ends, so that none outlives this process, however it dies. Start at `run`, then `node.rs`.

mod node;
mod start;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::node::Node;
use crate::node::{Failure, Parent, Wishes};

/// How long a node that ended stays down.
const RESPAWN_AFTER: Duration = Duration::from_secs(5);
/// How long a node may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Run a whole cluster on this machine, to try it.
///
/// Starts real processes on loopback, prints one JSON line on stdout when all are ready, starts a node again
/// 5 s after it died, and stops all on SIGTERM or Ctrl-C. Run it again on the same folder to go on.
#[derive(Args)]
#[command(after_help = "Example: threatflow demo --nodes 3 --data-dir ./demo --base-port 9000\n\
                        Then: kill -9 the pid of a node, and go on with the others")]
pub(super) struct DemoArgs {
    /// How many nodes
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Where the nodes' data and logs lie
    #[arg(long, value_name = "FOLDER", default_value = "./demo")]
    data_dir: PathBuf,
    /// Node N serves its API on this port + N, and its peers on this port + 100 + N
    #[arg(long, value_name = "PORT", default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    base_port: u16,
    /// Leave a node that died dead
    #[arg(long)]
    no_respawn: bool,
}

/// Runs it.
pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut wishes = Wishes::listen(Parent::None)?;
    let root = prepare(&args.data_dir)?;
    let mut nodes: Vec<Node> = (1..=args.nodes).map(|id| Node::new(&root, id, args.base_port)).collect();
    let started = tokio::select! {
        started = start::all(&mut nodes) => started.map(Some),
        () = wishes.next() => Ok(None),
    };
    match started {
        Ok(Some(password_file)) => {
            tell(&nodes, &password_file)?;
            watch(nodes, !args.no_respawn, &mut wishes).await
        }
        Ok(None) => stop(nodes).await,
        Err(failure) => {
            stop(nodes).await?;
            Err(failure)
        }
    }
}

fn prepare(folder: &Path) -> Result<PathBuf, Failure> {
    let made = std::path::absolute(folder).and_then(|root| std::fs::create_dir_all(&root).map(|()| root));
    made.map_err(|error| {
        let what = format!("the data folder {} cannot be used: {error}", folder.display());
        Failure::new(what, "name a folder you may write with --data-dir")
    })
}

/// The one line for programs.
fn tell(nodes: &[Node], password_file: &Path) -> Result<(), Failure> {
    let list: Vec<_> =
        nodes.iter().map(|node| json!({ "id": node.id, "url": node.url(), "pid": node.pid() })).collect();
    let line = json!({ "nodes": list, "admin_password_file": password_file.display().to_string() });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("stdout cannot be written: {error}"), "check where it leads"))
}

/// Keeps the nodes alive until a wish to stop.
async fn watch(nodes: Vec<Node>, respawn: bool, wishes: &mut Wishes) -> Result<(), Failure> {
    let (stop, stopping) = watch::channel(false);
    let mut keepers = JoinSet::new();
    for node in nodes {
        keepers.spawn(keep(node, respawn, stopping.clone()));
    }
    tokio::select! {
        () = wishes.next() => {}
        () = ended(&mut keepers) => {
            return Err(Failure::new("every node has ended", "see node-N.log in the data folder, then run it again"));
        }
    }
    stop.send_replace(true);
    ended(&mut keepers).await;
    Ok(())
}

async fn ended(keepers: &mut JoinSet<()>) {
    while keepers.join_next().await.is_some() {}
}

async fn keep(mut node: Node, respawn: bool, mut stopping: watch::Receiver<bool>) {
    loop {
        let how = tokio::select! {
            how = node.ended() => how,
            () = told(&mut stopping) => return node.stop(STOP_WITHIN).await,
        };
        let (id, log) = (node.id, node.log().display().to_string());
        if !respawn {
            eprintln!("threatflow: node {id} ended ({how}); it stays down, see {log}");
            return;
        }
        let seconds = RESPAWN_AFTER.as_secs();
        eprintln!("threatflow: node {id} ended ({how}); it starts again in {seconds} s, see {log}");
        if timeout(RESPAWN_AFTER, told(&mut stopping)).await.is_ok() {
            return;
        }
        match node.spawn(None) {
            Ok(()) => eprintln!("threatflow: node {id} runs again (pid {})", node.pid().unwrap_or_default()),
            Err(failure) => eprintln!("threatflow: {failure}"),
        }
    }
}

/// Waits for the wish to stop; its sender lives as long as the keepers.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn stop(nodes: Vec<Node>) -> Result<(), Failure> {
    let mut stops = JoinSet::new();
    for mut node in nodes {
        stops.spawn(async move { node.stop(STOP_WITHIN).await });
    }
    ended(&mut stops).await;
    Ok(())
}
