//! What every node does for its own files: reads them through, and repairs those in quarantine from the leader's.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use raft::Leadership;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{
    compare::{Scrubs, compare, scrubbed},
    dispatch,
    jobs::{every, led_term},
};
use crate::{
    cluster::{About, Cluster, Question, Tasks, Ticket, Unanswered},
    features::membership::ReportDivergence,
    kernel::{Fault, FileId, OrgId, RequestId},
    store::{Alarm, Found, Scrubbed, Store},
};

/// How files are read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// The time in which every file is read once.
    pub cycle: Duration,
    /// Bytes read in a second, at most.
    pub bytes_per_s: u64,
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a repair that did not succeed.
const REST: Duration = Duration::from_secs(2);
/// Between two scrubs, however many files there are.
const SCRUB_PAUSE: Duration = Duration::from_millis(5);
const HAND_OVER: Duration = Duration::from_secs(5);

/// A file that nobody wrote for one to two of these is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Starts to care for the files of this node, and, while it leads, to compare them with those of others.
pub fn care(cluster: &Cluster, pace: ScrubPace) -> Tasks {
    let scrubs = Scrubs::default();
    let mut tasks = Tasks::of(cluster);
    tasks.spawn("tend files", Tending::new(cluster.clone()).run());
    tasks.spawn("scrub", scrub(cluster.clone(), pace, Arc::clone(&scrubs)));
    tasks.spawn("compare nodes", compare(cluster.clone(), scrubs));
    let cluster = cluster.clone();
    let closing = every(IDLE, move || {
        let cluster = cluster.clone();
        // A fault of it halts the node.
        async move { drop(cluster.on_files(Store::close_idle).await) }
    });
    tasks.spawn("close idle files", closing);
    tasks
}

/// Reads one file after the other, for ever. Begins anywhere: a node that is restarted often gets to all of them.
async fn scrub(cluster: Cluster, pace: ScrubPace, scrubs: Scrubs) -> Infallible {
    let mut last = OrgId(Uuid::new_v4());
    loop {
        let files = cluster.store().list();
        let next = files.iter().find(|file| **file > last).or(files.first()).copied();
        let share = pace.cycle / u32::try_from(files.len().max(1)).unwrap_or(u32::MAX);
        if let Some(file) = next {
            last = file;
            let store = Arc::clone(cluster.store());
            let done = spawn_blocking(move || store.scrub(file, pace.bytes_per_s)).await;
            match done.unwrap_or_else(|error| Err(Fault::new("scrub a file", error))) {
                Ok(Scrubbed::Sound { standing, .. }) if led_term(&cluster).is_some() => {
                    scrubbed(&scrubs, file, standing);
                }
                Ok(_) => {}
                // Whoever needs the file meets the same fault, and halts if it must.
                Err(fault) => {
                    tracing::error!(organization.id = %file, %fault, "a file cannot be read through");
                }
            }
        }
        sleep(share.max(SCRUB_PAUSE)).await;
    }
}

/// Deals with alarms.
struct Tending {
    cluster: Cluster,
    node: u64,
    /// Alarms that are on the trail.
    reported: BTreeSet<(Uuid, Found)>,
    /// Files whose copy is in place and durable, but not yet on the trail.
    repaired: BTreeSet<FileId>,
}

impl Tending {
    fn new(cluster: Cluster) -> Self {
        let node = cluster.replica().status().node;
        Self { cluster, node, reported: BTreeSet::new(), repaired: BTreeSet::new() }
    }

    async fn run(mut self) -> Infallible {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let members = self.cluster.replica().status().members.len();
            if members > 0 {
                let _ = self.cluster.on_files(move |store| store.set_replicated(members > 1)).await;
            }
            for (file, alarm) in self.cluster.store().alarms() {
                if let Err(why) = self.tend(file, &alarm).await {
                    tracing::warn!(organization.id = %file, why, "a file in quarantine is not repaired yet");
                    sleep(REST).await;
                }
            }
        }
    }

    async fn tend(&mut self, file: FileId, alarm: &Alarm) -> Result<(), String> {
        let leadership = *self.cluster.leadership().borrow();
        if let Leadership::Leader { .. } = leadership {
            if alarm.found != Found::Undecided {
                return self.hand_over(file).await;
            }
            // Where nodes differ without a majority the leader's copy counts, and an operator chose the leader.
            self.cluster.on_files(move |store| store.clear(file)).await?;
            return Ok(());
        }
        if !self.reported.contains(&(alarm.id, alarm.found)) {
            self.report(file, alarm, false).await.map_err(|reason| format!("report it: {reason:?}"))?;
            self.reported.insert((alarm.id, alarm.found));
        }
        if alarm.found == Found::Undecided {
            return Ok(());
        }
        let Leadership::Follower { leader } = leadership else { return Err("no leader is known".to_owned()) };
        if !self.repaired.contains(&file) {
            self.repair(leader, file).await?;
            self.repaired.insert(file);
        }
        self.report(file, alarm, true).await.map_err(|reason| format!("report its repair: {reason:?}"))?;
        self.repaired.remove(&file);
        self.cluster.on_files(move |store| store.clear(file)).await
    }

    async fn report(&self, file: FileId, alarm: &Alarm, repaired: bool) -> Result<(), Unanswered> {
        let Alarm { id, index, found, .. } = *alarm;
        let step = if repaired { "repaired".to_owned() } else { format!("{found:?}") };
        let ticket = Ticket::system(RequestId(id)).step(&step);
        let report = ReportDivergence { node: self.node, file, index, found, repaired };
        self.cluster.propose(&ticket, OrgId::SYSTEM, &report).await.map(drop)
    }

    /// Replaces the file by the leader's copy, and brings that to where this node's log is.
    async fn repair(&self, leader: u64, file: FileId) -> Result<(), String> {
        let cluster = &self.cluster;
        cluster.on_files(move |store| store.hold_back(file)).await?;
        let Some(copy) = cluster.fetch_copy(leader, file).await? else {
            // The entry that destroyed it was held back here.
            return cluster
                .on_files(move |store| store.write(file, |store, writers| writers.destroy(store, file)))
                .await;
        };
        let store = Arc::clone(cluster.store());
        let proven = spawn_blocking(move || {
            let path = store.to_take().join(copy.name());
            store.prove(&path, &copy).map(|()| copy)
        });
        let copy = proven.await.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
        let placed = move |store: &Store| {
            let placed = store.replace(&store.to_take(), &copy)? && catch_up(store, file)?;
            if placed {
                store.make_durable(file)?;
            }
            Ok(placed)
        };
        if cluster.on_files(placed).await? { Ok(()) } else { Err("the copy came too late".to_owned()) }
    }

    /// A leader must not go on with a file that it must not answer from: to a voter that may.
    async fn hand_over(&self, file: FileId) -> Result<(), String> {
        let replica = self.cluster.replica();
        for member in replica.status().members.iter().filter(|m| m.voter && m.node != self.node) {
            let about = self.cluster.ask::<About>(member.node, &Question::About).await;
            if about.is_ok_and(|about| !about.alarms.contains_key(&file)) {
                let done = replica.transfer_leadership(member.node, HAND_OVER).await;
                return done
                    .map_err(|error| format!("hand the leadership to node {}: {error:?}", member.node));
            }
        }
        Err("this node leads, and no other voter could".to_owned())
    }
}

/// Applies what was held back while the copy was on its way; `false` when that is not all there was.
fn catch_up(store: &Store, file: FileId) -> Result<bool, Fault> {
    store.write(file, |store, writers| {
        let Some(held) = store.take_held(file) else { return Ok(false) };
        for entry in held {
            dispatch(store, writers, entry.index, entry.at, &entry.body)?;
        }
        writers.commit(store)?;
        Ok(true)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
