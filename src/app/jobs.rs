//! Every job there is: background work that ends in a proposal.
//!
//! A leader may be one no more, and not know it, while its job works. What a job proposes is therefore decided in apply;
//! what it tells another node is refused there if that one follows another (`cluster/question.rs`); and where it judges by
//! what this node knows, it makes sure with a strong read that this is all there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::Future,
    time::Duration,
};

use raft::Leadership;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{drill, restores::Restores, routes::State};
use crate::{
    cluster::{Cluster, PruneReplies, Tasks, Ticket, Unanswered},
    features::{
        access,
        backup::{self, jobs::Backup},
        identity, keys,
        membership::{self, jobs::CleanUp},
        quotas, sessions,
    },
    kernel::{DAY_MS, Millis, OrgId, RequestId},
    web::now,
};

/// The running jobs of a node.
pub struct Jobs {
    tasks: Tasks,
    stop: watch::Sender<bool>,
}

/// How long an effect waits for the handler that wrote it before the job delivers it.
const OUTBOX_EVERY: Duration = Duration::from_secs(1);
/// How often calls that need no permit are counted.
const CALLS_EVERY: Duration = Duration::from_secs(1);
/// How often some of the files below the level in force are looked at.
const LEVELS_EVERY: Duration = Duration::from_secs(1);
/// How often files are measured and old replies forgotten.
const UPKEEP_EVERY: Duration = Duration::from_mins(1);
/// How often every organization is asked for users who stayed away too long.
const INACTIVE_EVERY: Duration = Duration::from_hours(1);
/// How often a rotation of the cluster key is looked at.
const ROTATION_EVERY: Duration = Duration::from_millis(500);
/// How often a node looks whether its certificates are to change: nothing but a number, most times.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// How often the leader asks the members how far they are, while a rotation is under way.
const DRIVE_EVERY: Duration = Duration::from_millis(500);
/// How often the leader looks for dead voters.
const BURY_EVERY: Duration = Duration::from_millis(500);
/// How often last uses of sessions are written down; each at most once a minute.
const SEEN_EVERY: Duration = Duration::from_secs(15);
/// How often the leader looks whether a signing key is due.
const SIGNING_EVERY: Duration = Duration::from_secs(10);
/// Replies forgotten in one entry.
const PRUNE_MAX: u32 = 5_000;

impl Jobs {
    /// Stops every job; what one was doing is done or will be done again.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        self.tasks.stop().await;
    }
}

/// Starts every job. What is proposed is proposed on the leader only, but for the counting of calls and each node's own
/// part in rotations.
pub fn spawn(state: &State, sent_from: watch::Sender<BTreeSet<OrgId>>, clean_up: CleanUp) -> Jobs {
    let (stop, _) = watch::channel(false);
    let mut tasks = Tasks::of(&state.cluster);
    let (meter, cluster) = (state.meter.clone(), state.cluster.clone());
    let counting = every(CALLS_EVERY, move || {
        let meter = meter.clone();
        async move { meter.flush().await }
    });
    tasks.spawn("count calls", counting);
    let recogniser = state.recogniser.clone();
    let stamping = every(SEEN_EVERY, move || {
        let recogniser = recogniser.clone();
        async move { sessions::jobs::stamp_seen(&recogniser).await }
    });
    tasks.spawn("stamp sessions", stamping);
    tasks.spawn("advance signing keys", with(&cluster, SIGNING_EVERY, advance_signing_keys));
    tasks.spawn("deliver effects", deliver(cluster.clone(), sent_from));
    tasks.spawn("rotate the cluster key", with(&cluster, ROTATION_EVERY, rotate));
    tasks.spawn("raise files", with(&cluster, LEVELS_EVERY, raise_files));
    tasks.spawn("upkeep", upkeep(cluster.clone()));
    tasks.spawn("deactivate users", with(&cluster, INACTIVE_EVERY, deactivate_inactive));
    tasks.spawn("follow the authority", follow_authority(cluster.clone()));
    tasks.spawn("drive the authority", with(&cluster, DRIVE_EVERY, drive_authority));
    tasks.spawn("back up", Backup::new(cluster.clone()).run());
    tasks.spawn("drill", with(&cluster, drill::LOOK_EVERY, drill::look));
    tasks.spawn("restore organizations", Restores::new(cluster.clone()).run());
    tasks.spawn("remove dead voters", bury(cluster, clean_up));
    Jobs { tasks, stop }
}

/// What is done with the cluster each `period`.
fn with<F: Future<Output = ()>, W: Fn(Cluster) -> F>(
    cluster: &Cluster,
    period: Duration,
    work: W,
) -> impl Future<Output = Infallible> + use<F, W> {
    let cluster = cluster.clone();
    every(period, move || work(cluster.clone()))
}

pub(super) async fn every<F: Future<Output = ()>>(
    period: Duration,
    mut work: impl FnMut() -> F,
) -> Infallible {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        work().await;
    }
}

/// Delivers what waits in outboxes. A new leader looks into every file that may have effects to send: its
/// predecessor may have died between a command and its effect.
async fn deliver(cluster: Cluster, sent_from: watch::Sender<BTreeSet<OrgId>>) -> Infallible {
    let mut term_seen = 0;
    let mut ticks = interval(OUTBOX_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(term) = led_term(&cluster) else { continue };
        let mut waiting = sent_from.send_replace(BTreeSet::new());
        if term != term_seen {
            waiting.extend(cluster.store().sending());
        }
        let mut failed = BTreeSet::new();
        for file in waiting {
            if cluster.deliver_all(file).await.is_err() {
                failed.insert(file);
            }
        }
        term_seen = if failed.is_empty() { term } else { term_seen };
        sent_from.send_modify(|waiting| waiting.append(&mut failed));
    }
}

/// Every node follows a rotation of the cluster key; the leader leads it. Not while a restore goes on: what is still to be
/// fetched is under the keys that were.
async fn rotate(cluster: Cluster) {
    if cluster.store().arrived().is_some() {
        return;
    }
    let mut done = keys::jobs::follow(&cluster).await;
    if done.is_ok() && led_term(&cluster).is_some() {
        let vaults: keys::jobs::Others = |cluster, generation| {
            Box::pin(async move { backup::jobs::vaults_behind(&cluster, generation).await })
        };
        done = keys::jobs::lead(&cluster, vaults).await;
    }
    if let Err(error) = done {
        tracing::debug!(?error, "the rotation of the cluster key is put off");
    }
}

async fn advance_signing_keys(cluster: Cluster) {
    if led_term(&cluster).is_some()
        && let Err(error) = sessions::jobs::advance_keys(&cluster).await
    {
        tracing::warn!(?error, "the signing keys are looked at later");
    }
}

/// Looks only into files that changed since the last look, or have a session that time may have ended: a cold
/// organization costs nothing.
async fn upkeep(cluster: Cluster) -> Infallible {
    let marked = |file: OrgId| (file, cluster.store().mark(file));
    let mut seen: BTreeMap<OrgId, u64> = cluster.store().list().into_iter().map(marked).collect();
    // When the next session of each file can end by time.
    let mut due: BTreeMap<OrgId, Millis> = BTreeMap::new();
    let mut ticks = interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for file in cluster.store().list() {
            let same = seen.get(&file) == Some(&cluster.store().mark(file));
            if led_term(&cluster).is_none() || (same && due.get(&file).is_none_or(|at| *at > now())) {
                continue;
            }
            let next = match upkeep_file(&cluster, file).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(organization.id = %file, ?error, "upkeep is put off to the next minute");
                    continue;
                }
            };
            match next {
                Some(at) => due.insert(file, at),
                None => due.remove(&file),
            };
            seen.insert(file, cluster.store().mark(file));
        }
    }
}

/// Looks into every file: an organization where nobody logs in changes nothing that could be noticed.
async fn deactivate_inactive(cluster: Cluster) {
    for file in cluster.store().list() {
        if led_term(&cluster).is_none() {
            return;
        }
        if let Err(error) = identity::jobs::deactivate_inactive(&cluster, file).await {
            tracing::debug!(organization.id = %file, ?error, "inactive users are deactivated later");
        }
    }
}

async fn follow_authority(cluster: Cluster) -> Infallible {
    let (mut seen, mut ticks) = (0, interval(FOLLOW_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        membership::jobs::follow_authority(&cluster, &mut seen).await;
    }
}

async fn drive_authority(cluster: Cluster) {
    if led_term(&cluster).is_some()
        && let Err(error) = membership::jobs::drive_authority(&cluster).await
    {
        tracing::warn!(?error, "the rotation of the authority waits");
    }
}

/// Removes dead voters. What a leader heard in an earlier term says nothing in this one.
async fn bury(cluster: Cluster, rule: CleanUp) -> Infallible {
    let (mut led, mut since) = (None, BTreeMap::new());
    let mut ticks = interval(BURY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let term = led_term(&cluster);
        if term != std::mem::replace(&mut led, term) {
            since.clear();
        }
        if term.is_some()
            && let Err(error) = membership::jobs::clean_up(&cluster, rule, &mut since).await
        {
            tracing::warn!(?error, "a dead voter is removed later");
        }
    }
}

/// Answers when the file is to be looked at again though it does not change.
async fn upkeep_file(cluster: &Cluster, file: OrgId) -> Result<Option<Millis>, Unanswered> {
    let next = sessions::jobs::expire(cluster, file).await?;
    if !file.is_system() {
        quotas::jobs::measure(cluster, file).await?;
        access::jobs::forget_expired(cluster, file).await?;
    }
    identity::jobs::erase(cluster, file).await?;
    let before = now().plus(-DAY_MS);
    let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
    cluster.propose(&ticket, file, &PruneReplies { before, limit: PRUNE_MAX }).await?;
    Ok(next)
}

/// What fails is tried again at the next turn.
async fn raise_files(cluster: Cluster) {
    let leads = led_term(&cluster).is_some();
    if let Err(error) = membership::jobs::raise_files(&cluster, leads).await {
        tracing::debug!(?error, "files are raised later");
    }
}

pub(super) fn led_term(cluster: &Cluster) -> Option<u64> {
    match *cluster.leadership().borrow() {
        Leadership::Leader { term } => Some(term),
        Leadership::Follower { .. } | Leadership::NoLeader => None,
    }
}
