//! What runs beside a replica: watching the engine, and what recurs.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use openraft::{ServerState, errors::Fatal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    contract::{Config, Fault},
    lag,
    pki::RENEW_EVERY,
    replica::{Core, Leadership},
    types::TypeConfig,
    voters, watch,
};

const PROMOTE_EVERY: Duration = Duration::from_millis(200);
/// How often the log is cut, at most.
const CUT_EVERY: Duration = Duration::from_millis(200);

/// Our times in the engine's terms.
///
/// The engine starts an election once a leader's lease (its longest election time-out) *and* a random
/// election time-out have passed without a heartbeat. Half of ours for each makes the sum ours.
pub(crate) fn engine_config(config: &Config) -> Result<openraft::Config, Fault> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (shortest, longest) = (ms(config.election.0) / 2, ms(config.election.1) / 2);
    let engine = openraft::Config {
        cluster_name: "threatflow".into(),
        heartbeat_interval: ms(config.heartbeat),
        election_timeout_min: shortest,
        election_timeout_max: longest,
        enable_pre_vote: Some(true),
        // A restarted leader stands for election like any other: it cannot know what happened meanwhile.
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        // Only a follower whose entries are purged gets a snapshot.
        replication_lag_threshold: u64::MAX,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        // What a checkpoint covers is cut by `trim`, which knows who still wants it.
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        // A follower that lost the end of its log, unseen, is sent it again. The engine would end the leader otherwise:
        // one damaged disk would stop the cluster.
        allow_log_reversion: Some(true),
        install_snapshot_timeout: 120_000,
        backoff: "20ms 40ms 80ms ..500ms".into(),
        ..openraft::Config::default()
    };
    engine.validate().map_err(|e| Fault::new("configure the consensus engine", e))
}

/// Publishes the leadership, and notices when the engine ends by a fault.
pub(crate) async fn watch_engine(core: Arc<Core>) {
    use openraft::async_runtime::watch::WatchReceiver;
    let mut server = core.raft.server_metrics();
    loop {
        let now = {
            let seen = server.borrow_watched();
            match seen.current_leader {
                Some(leader) if leader == core.config.node && seen.state == ServerState::Leader => {
                    Leadership::Leader { term: seen.vote.leader_id.term }
                }
                Some(leader) if leader != core.config.node => Leadership::Follower { leader },
                _ => Leadership::NoLeader,
            }
        };
        let now = if core.host.halted.borrow().is_some() { Leadership::NoLeader } else { now };
        core.leadership.send_if_modified(|known| std::mem::replace(known, now) != now);
        if server.changed().await.is_err() {
            break;
        }
    }
    core.leadership.send_replace(Leadership::NoLeader);
    if !*core.stopping.borrow() {
        let why = match core.metrics().running_state {
            Err(error) => error.to_string(),
            Ok(()) => "it ended".into(),
        };
        // The engine wraps what the log said in words of its own; the operator gets the log's.
        let fault = core.log.check().err().unwrap_or_else(|| Fault::new("run the consensus engine", why));
        core.host.halt(fault);
    }
}

/// What recurs: checkpoints, promotion of learners, notes of where the log ends, a fresh certificate.
pub(crate) async fn keep_house(core: Arc<Core>) {
    let every = |time| {
        let mut ticks = interval(time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut checkpoints = every(core.config.checkpoint_every.max(Duration::from_millis(10)));
    let (mut promotions, mut renewals) = (every(PROMOTE_EVERY), every(RENEW_EVERY));
    let mut notes = every(lag::EVERY);
    let mut cuts = every(CUT_EVERY);
    let mut stopping = core.stopping.subscribe();
    renewals.tick().await; // the first comes at once, and start has just issued one
    loop {
        tokio::select! {
            biased;
            () = until_stop(&mut stopping) => return,
            _ = checkpoints.tick() => {
                if core.host.checkpoint_is_due() && core.raft.trigger().snapshot().await.is_err() {
                    return; // the engine has ended; `watch_engine` says why
                }
            }
            _ = cuts.tick() => if trim(&core).await.is_err() { return },
            _ = notes.tick() => core.ends.note(Instant::now(), core.metrics().last_log_index.unwrap_or(0)),
            _ = promotions.tick() => voters::autopilot(&core).await,
            _ = renewals.tick() => if let Err(fault) = core.peers.renew() {
                tracing::error!(%fault, "no fresh certificate could be made");
            },
        }
    }
}

/// Cuts the log below the checkpoint, but for the entries that are kept for short absences and those that are held.
async fn trim(core: &Core) -> Result<(), Fatal<TypeConfig>> {
    let durable = *core.host.durable.borrow();
    let held = core.held.load(Ordering::SeqCst);
    let upto = durable.saturating_sub(core.config.keep_entries).min(held.saturating_sub(1));
    if upto <= core.log.ends().0 {
        return Ok(());
    }
    core.raft.trigger().purge_log(upto).await
}

/// Waits until the replica stops.
pub(crate) async fn until_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
