//! The life of a node, from its configuration to its end.
//!
//! 1. take the address and the folder; judge the operator's password before anything is made;
//! 2. come to run ([`founding`]): as a member, by beginning a cluster, or by joining one;
//! 3. learn the cluster's signing key, which a node that has just joined is still being sent;
//! 4. serve, until a wish to stop or a fault;
//! 5. stop: not ready, hand the leadership over while requests drain, end the jobs.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, time::sleep};

use super::{
    Failure, NodeConfig,
    failure::say,
    folder::{DataFolder, PASSWORD_FILE},
    founding::{self, ADMIN_EMAIL, Running},
    health::{Audience, Health},
    logging,
    server::{self, Server},
    signals::Wishes,
};
use crate::{
    app::{
        self, Jobs,
        routes::{State, router},
    },
    cluster::{Cluster, Unanswered},
    features::{
        factors::Passkeys, identity::PasswordPool, login::Desk, membership::jobs::CleanUp, sessions::Tokens,
    },
    kernel::Fault,
};

/// Between two looks for what the cluster is still sending.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Whether the process lives for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// It stands alone.
    None,
    /// It stops when its standard input ends, which its parent holds open.
    HoldsStdin,
}

/// Runs a node until it is told to stop; answers `Err` when it could not start or met a fault.
pub async fn run(config: NodeConfig, parent: Parent) -> Result<(), Failure> {
    logging::begin(&config);
    let mut wishes = Wishes::listen(parent)?;
    let listener = server::bind(config.listen).await?;
    let listening =
        listener.local_addr().map_err(|error| Fault::new("learn the listening address", error))?;
    let management = match config.management_listen {
        Some(address) => Some(server::bind(address).await?),
        None => None,
    };
    drop(founding::given_password(&config)?);
    let folder = DataFolder::claim(&config.data_dir)?;
    let url = config.url(listening);
    let running = tokio::select! {
        running = founding::open(&config, &folder, url.clone()) => running?,
        // Whatever is half done, the next start does over.
        () = wishes.next() => return Ok(()),
    };
    let Running { cluster, mut halted, sent_from } = running;
    // Before anything else needs a sound file.
    let _care = app::care(&cluster, config.scrub);
    let _arrivals = app::arrivals(&cluster, sent_from.clone());
    let live = async {
        let tokens = tokio::select! {
            tokens = tokens(&cluster, config.public_url.as_deref()) => tokens,
            () = wishes.next() => {
                cluster.replica().stop().await;
                return Ok(());
            }
        };
        let passkeys = Passkeys::new(&config.public_url(listening));
        let desk = Desk::new(tokens, PasswordPool::new(config.password_cost), config.dns_server, passkeys);
        let state = State::new(cluster.clone(), desk, config.trusted_proxies.clone());
        let jobs = app::spawn(&state, sent_from, clean_up(&config));
        let parts = Parts::serve(&config, (listener, listening), management, state);
        announce(&config, &folder, &url);
        wishes.next().await;
        tokio::select! {
            () = parts.stop(&cluster, jobs) => Ok(()),
            () = wishes.next() => Err(Failure::new("stopped at once, at the second signal", "requests may be cut off")),
        }
    };
    tokio::select! {
        biased;
        fault = fault(&cluster, &mut halted) => halt(&fault),
        ended = live => ended,
    }
}

fn clean_up(config: &NodeConfig) -> CleanUp {
    let dead_ms = u64::try_from(config.dead_server_cleanup.as_millis()).unwrap_or(u64::MAX);
    CleanUp { dead_ms, least: config.min_quorum }
}

/// What serves.
struct Parts {
    server: Server,
    management: Option<Server>,
    health: Arc<Health>,
}

impl Parts {
    fn serve(
        config: &NodeConfig,
        (listener, listening): (TcpListener, SocketAddr),
        management: Option<TcpListener>,
        state: State,
    ) -> Self {
        let health = Health::new(state.cluster.clone(), Arc::clone(&state.traffic), config.election);
        let probes = health.router(Audience::of(listening));
        let server = Server::start(listener, probes.merge(router(state)), config);
        let management =
            management.map(|listener| Server::start(listener, health.router(Audience::Operators), config));
        Self { server, management, health }
    }

    async fn stop(self, cluster: &Cluster, jobs: Jobs) {
        self.health.drain();
        // The leadership first: while this node leads, whatever stops here stops for all.
        tokio::join!(cluster.replica().hand_over(), self.server.stop());
        jobs.stop().await;
        cluster.replica().stop().await;
        // Last: a monitor may watch the stop.
        if let Some(management) = self.management {
            management.stop().await;
        }
        tracing::info!("stopped");
    }
}

/// The cluster's tokens, once a signing key has reached this node.
async fn tokens(cluster: &Cluster, public_url: Option<&str>) -> Tokens {
    let (tokens, mut told) = (Tokens::new(public_url), false);
    loop {
        match tokens.keys(cluster).await {
            Ok(keys) if keys.signs() => return tokens,
            Ok(_) if !told => {
                told = true;
                tracing::info!("waiting for the cluster's data");
            }
            // Not here yet, or being repaired.
            Ok(_) | Err(Unanswered::Quarantined) => {}
            // The fault was sent to whoever halts the node.
            Err(_) => pending().await,
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Resolves when the replica or anything above it met a fault.
async fn fault(cluster: &Cluster, halted: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::select! {
        text = cluster.replica().halted() => text,
        text = halted.recv() => match text {
            Some(text) => text,
            None => pending().await,
        },
    }
}

/// Ends the process at once: after a fault nothing may be answered.
fn halt(fault: &str) -> Result<(), Failure> {
    let failure = Failure::fault(fault);
    tracing::error!(fault, "this node met a fault");
    failure.say();
    std::process::exit(i32::from(failure.code()));
}

fn announce(config: &NodeConfig, folder: &DataFolder, url: &str) {
    let data = config.data_dir.display();
    say(format_args!("node {} serves {url} (data in {data})", config.node_id));
    if folder.password().exists() {
        let path = config.data_dir.join(PASSWORD_FILE);
        say(format_args!(
            "log in to organization \"system\" as {ADMIN_EMAIL} with the password in {} \
             (POST {url}/api/v2/auth/login), then delete that file",
            path.display()
        ));
    }
}
