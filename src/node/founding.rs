//! How a node comes to run: as a member that it is, as the beginning of a cluster, or by joining one.
//!
//! Beginning and joining take several steps on disk and in the log. A note in the folder says that they
//! are under way; while it is there nothing is served, and a start that finds it starts over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use raft::{Replica, Token};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{
    Failure, NodeConfig,
    admission::Gatekeeper,
    folder::{DataFolder, Founding},
    limits, password, restore,
};
use crate::{
    app::FileMachine,
    cluster::{Cluster, Joiner, Ticket, Unanswered},
    features::{
        identity::{self, HashCost, NewUser},
        membership::{self, Bootstrap},
        sessions,
    },
    kernel::{Fault, OrgId, RequestId, Role, Secret, UserId},
    store::{Keyring, LEVEL, Store, VERSION, since},
};

/// What the first administrator logs in with, at the organization `system`.
pub const ADMIN_EMAIL: &str = "admin@localhost";
/// How long the first election and the first entry may take.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

/// A node that runs.
pub(super) struct Running {
    pub(super) cluster: Cluster,
    /// A fault met above the replica.
    pub(super) halted: mpsc::UnboundedReceiver<String>,
    /// Files whose outbox has been filled.
    pub(super) sent_from: watch::Sender<BTreeSet<OrgId>>,
}

/// Which way a node will come to run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Member,
    Found(Founding),
}

/// Brings a node to run.
pub(super) async fn open(config: &NodeConfig, folder: &DataFolder, url: String) -> Result<Running, Failure> {
    let replica = replica_config(config, folder, url);
    free(config.peer_listen)?;
    match way(config, folder)? {
        Way::Member => {
            if config.join.is_some() {
                tracing::info!("this node is a member already; its join token is not used");
            }
            let keyring = Arc::new(folder.keyring(&config.seal)?);
            let running = start(config, folder, replica, keyring, false).await?;
            restore::begin_lineage(&running.cluster, folder).await?;
            renew_lost_keys(&running.cluster).await?;
            Ok(running)
        }
        Way::Found(Founding::Join) => {
            let keyring = join(config, folder, &replica).await?;
            start(config, folder, replica, Arc::new(keyring), false).await
        }
        Way::Found(Founding::Begin | Founding::Restore) => begin(config, folder, replica).await,
    }
}

/// The operator's password, judged before anything is made. `None` when none is named or needed.
pub(super) fn given_password(config: &NodeConfig) -> Result<Option<Secret<String>>, Failure> {
    let raft = config.data_dir.join("raft");
    if config.join.is_some() || Replica::exists(&raft) {
        return Ok(None);
    }
    config.admin_password_file.as_deref().map(password::given).transpose()
}

fn way(config: &NodeConfig, folder: &DataFolder) -> Result<Way, Failure> {
    let unfinished = folder.unfinished()?;
    if unfinished == Some(Founding::Restore) {
        let what = "a restore into this folder was cut short";
        return Err(Failure::new(what, "run the same `threatflow restore` again: it goes on where it was"));
    }
    if unfinished == Some(Founding::Join) && config.join.is_none() {
        let what = "this node was joining a cluster when it was stopped, and has no token now";
        return Err(Failure::new(
            what,
            "start it with --join TOKEN again, or remove its data to begin a new cluster",
        ));
    }
    if unfinished.is_some() {
        tracing::info!("the last start was cut short; starting over");
        folder.undo()?;
    } else if Replica::exists(&folder.raft()) {
        return Ok(Way::Member);
    }
    // A founding draws new keys: it must not write them over those of files that are there.
    folder.require_empty()?;
    if config.join.is_some() {
        return Ok(Way::Found(Founding::Join));
    }
    require_first(config)?;
    Ok(Way::Found(Founding::Begin))
}

/// Only node 1 begins a cluster: any other number without data has lost its disk, or it is not mounted. It
/// would answer its clients out of an empty cluster of its own.
fn require_first(config: &NodeConfig) -> Result<(), Failure> {
    let (node, data) = (config.node_id, config.data_dir.display());
    if node == 1 {
        return Ok(());
    }
    Err(Failure::new(
        format!("node {node} has no data in {data} and no token, and only node 1 begins a cluster"),
        format!(
            "mount its disk; or, if it is new, start it with --join TOKEN; or, if its disk is lost, run \
             `threatflow cluster remove {node}` and join it under a new number"
        ),
    ))
}

async fn join(config: &NodeConfig, folder: &DataFolder, replica: &raft::Config) -> Result<Keyring, Failure> {
    let token: Token = config.join.as_deref().unwrap_or_default().parse()?;
    folder.begin(Founding::Join)?;
    let about = serde_json::to_vec(&Joiner::this())
        .map_err(|error| Fault::new("write what this node is made of", error))?;
    let admitted = Replica::join(replica, &token, about).await.map_err(|error| match error {
        raft::JoinError::Broken(fault) => fault.into(),
        other => {
            let fix =
                "check the token (`threatflow cluster token` makes one) and that its members can be reached";
            Failure::new(format!("node {} did not join: {other}", replica.node), fix)
        }
    })?;
    // The keyring first: it seals what makes this node a member.
    let keyring = folder.keep(Keyring::from_bundle(&admitted.grant.secrets)?, &config.seal)?;
    admitted.enter(&folder.raft(), &keyring)?;
    folder.finish()?;
    Ok(keyring)
}

async fn begin(config: &NodeConfig, folder: &DataFolder, replica: raft::Config) -> Result<Running, Failure> {
    let password = match config.admin_password_file.as_deref() {
        Some(path) => password::given(path)?,
        None => password::drawn(folder)?,
    };
    folder.begin(Founding::Begin)?;
    let keyring = Arc::new(folder.keep(Keyring::create()?, &config.seal)?);
    let bootstrap = first_entry(&keyring, password, config.password_cost).await?;
    let running = start(config, folder, replica, keyring, true).await?;
    propose(&running.cluster, &bootstrap).await?;
    folder.finish()?;
    Ok(running)
}

async fn start(
    config: &NodeConfig,
    folder: &DataFolder,
    replica: raft::Config,
    keyring: Arc<Keyring>,
    first: bool,
) -> Result<Running, Failure> {
    let store = Store::open(&folder.store(), Arc::clone(&keyring))?;
    let store = Arc::new(store.in_shares(config.apply_workers, limits::write_connections()));
    able(&store)?;
    let (machine, sent_from) = FileMachine::new(Arc::clone(&store))?;
    let machine = Arc::new(machine);
    let gatekeeper = Arc::new(Gatekeeper::new(keyring));
    let application: Arc<dyn raft::Application> = gatekeeper.clone();
    let replica = if first {
        Replica::bootstrap(replica, machine, application).await?
    } else {
        Replica::start(replica, machine, application).await?
    };
    let (halt, halted) = mpsc::unbounded_channel();
    let cluster = Cluster::new(replica, store, halt);
    gatekeeper.open(cluster.clone());
    Ok(Running { cluster, halted, sent_from })
}

/// A binary that is older than the level in force could not read what it would apply: it does not begin.
fn able(store: &Store) -> Result<(), Failure> {
    let level = store.level();
    if level <= LEVEL {
        return Ok(());
    }
    let row = store.read(OrgId::SYSTEM, |tx| membership::level_row(tx, level))?.flatten();
    let needs = row.map_or("a newer version".to_owned(), |row| format!("version {} or newer", row.version));
    let what =
        format!("level {level} is in force, and this binary (version {VERSION}) knows up to level {LEVEL}");
    Err(Failure::new(what, format!("start this node with {needs}; a level is never lowered")))
}

/// The command that begins a cluster: hashing and sealing are done here, at the edge.
async fn first_entry(
    keyring: &Arc<Keyring>,
    password: Secret<String>,
    cost: HashCost,
) -> Result<Bootstrap, Failure> {
    let hashed = tokio::task::spawn_blocking(move || identity::hash_password(&password, cost)).await;
    let hash = hashed.map_err(|error| Fault::new("hash the first password", error))??;
    let signing_key = Some(sessions::draw_key(keyring)?);
    let admin = NewUser {
        id: UserId(Uuid::now_v7()),
        email: ADMIN_EMAIL.to_owned(),
        username: None,
        first_name: "Platform".to_owned(),
        last_name: "Administrator".to_owned(),
        role: Role::PlatformAdmin,
        password_hash: Some(hash),
    };
    let secrets = BTreeMap::new();
    Ok(Bootstrap { admin, secrets, signing_key, version: since(LEVEL).map(str::to_owned) })
}

/// Only where nobody else can have them: in a cluster of this node alone.
async fn renew_lost_keys(cluster: &Cluster) -> Result<(), Failure> {
    let until = tokio::time::Instant::now() + BEGIN_WITHIN;
    while cluster.replica().status().members.len() == 1 {
        match sessions::jobs::renew_lost_keys(cluster).await {
            Err(Unanswered::NoQuorum | Unanswered::OutcomeUnknown) if tokio::time::Instant::now() < until => {
            }
            Err(Unanswered::Broken(fault)) => return Err(fault.into()),
            Err(Unanswered::Halted) => return Err(Failure::fault(cluster.replica().halted().await)),
            // If not well (a file in quarantine, no leader), what serves finds out, and says it.
            Ok(()) | Err(_) => break,
        }
    }
    Ok(())
}

async fn propose(cluster: &Cluster, bootstrap: &Bootstrap) -> Result<(), Failure> {
    let key = cluster.store().keyring().mint(OrgId::SYSTEM)?;
    let ticket = Ticket::system(RequestId(Uuid::now_v7()));
    let until = tokio::time::Instant::now() + BEGIN_WITHIN;
    loop {
        match cluster.propose_creating(&ticket, OrgId::SYSTEM, key.clone(), bootstrap).await {
            Ok(_) => return Ok(()),
            Err(Unanswered::NoQuorum | Unanswered::OutcomeUnknown) if tokio::time::Instant::now() < until => {
            }
            Err(Unanswered::Broken(fault)) => return Err(fault.into()),
            Err(Unanswered::Halted) => return Err(Failure::fault(cluster.replica().halted().await)),
            Err(other) => return Err(Failure::fault(format!("the cluster could not begin: {other:?}"))),
        }
    }
}

pub(super) fn replica_config(config: &NodeConfig, folder: &DataFolder, api_url: String) -> raft::Config {
    raft::Config {
        node: config.node_id,
        folder: folder.raft(),
        peer_listen: config.peer_listen,
        peer_advertise: config.peer_address(),
        api_url,
        zone: config.zone.clone(),
        stabilization: config.stabilization,
        heartbeat: config.heartbeat,
        election: (config.election, config.election * 2),
        segment_bytes: 64 * MIB,
        proposal_bytes_max: 8 << 20,
        checkpoint_every: config.checkpoint,
        keep_entries: config.log_keep_entries,
        held_at_start: true,
    }
}

/// Finds out early, and says it better than a fault would.
fn free(address: SocketAddr) -> Result<(), Failure> {
    TcpListener::bind(address).map(drop).map_err(|error| {
        Failure::new(
            format!("cannot listen for peers on {address}: {error}"),
            "stop what uses the address, or name another with --peer-listen",
        )
    })
}

#[cfg(test)]
mod tests;
