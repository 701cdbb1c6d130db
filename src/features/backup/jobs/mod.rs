//! The backup itself: on every node the log is held back for what is not archived; the leader uploads.
//!
//! A leader that is deposed and does not know it may go on for a moment: what it puts is committed all the same, an
//! archived stretch is the same bytes whoever puts it, and images lie under an epoch of the uploader's own.

mod archive;
mod compaction;
mod former;
mod images;
mod retention;
mod uploader;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use raft::Leadership;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use self::uploader::Uploader;
use super::{
    commands::{NoteProgress, Progress},
    model::Policy,
    queries::{self, State, Target},
};
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View},
    kernel::{OrgId, RequestId},
    store::Generation,
};

/// Between two looks at what is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a target says how far it is, at most.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// A target that has nothing to say says so all the same, this often.
const SAY_ANYWAY: Duration = Duration::from_mins(10);
/// The name under which a node says how far its uploaders are.
pub const REPORT: &str = "backup";
/// The name under which the leader says when a drill passed.
pub const DRILLS: &str = "drills";
/// Entries of our own that are remembered.
const OWN_MAX: usize = 1024;

/// What one node does for backups.
pub struct Backup {
    cluster: Cluster,
    uploaders: BTreeMap<String, Uploader>,
    /// The state and the targets, as they were when the system file stood there.
    known: Option<(u64, Known)>,
    said: Option<Instant>,
    /// Indexes of entries that said how far a target is: they are no reason to say it again.
    own: BTreeSet<u64>,
    /// Whether the spool is too long, which is said once.
    full: bool,
}

type Known = Option<(State, Vec<Target>)>;

impl Backup {
    /// Nothing is done yet.
    pub fn new(cluster: Cluster) -> Self {
        let (uploaders, own) = (BTreeMap::new(), BTreeSet::new());
        Self { cluster, uploaders, known: None, said: None, own, full: false }
    }

    /// For as long as the node lives. What an uploader does ends with it.
    pub async fn run(mut self) -> Infallible {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(?error, "backups are looked at later");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Unanswered> {
        if self.cluster.store().arrived().is_some() {
            // A catalogue would lack what a restore has not fetched yet. Until then the whole log is held, as at the start.
            return Ok(());
        }
        let Some((state, targets)) = self.read().await? else {
            self.uploaders.clear();
            self.cluster.replica().hold(None);
            return Ok(());
        };
        self.hold(&state, &targets);
        if !matches!(*self.cluster.leadership().borrow(), Leadership::Leader { .. }) {
            self.uploaders.clear();
            self.cluster.report(REPORT, Value::Null);
            return Ok(());
        }
        self.upload(&state, &targets);
        let said = |(name, uploader): (&String, &Uploader)| (name.clone(), uploader.said(self.full));
        let said = self.uploaders.iter().map(said).collect();
        self.cluster.report(REPORT, Value::Object(said));
        self.say(&targets).await
    }

    /// Read anew only when the system file has changed.
    async fn read(&mut self) -> Result<Known, Unanswered> {
        let mark = self.cluster.store().mark(OrgId::SYSTEM);
        if let Some((_, known)) = self.known.as_ref().filter(|(at, _)| *at == mark) {
            return Ok(known.clone());
        }
        let look = |tx: &rusqlite::Connection| Ok((queries::state(tx)?, queries::targets(tx)?));
        let (state, targets) =
            self.cluster.read(&View::Local, OrgId::SYSTEM, look).await?.unwrap_or_default();
        let known = state.map(|state| (state, targets));
        self.known = Some((mark, known.clone()));
        Ok(known)
    }

    /// The log keeps what the slowest target has not archived, unless that is too much.
    fn hold(&mut self, state: &State, targets: &[Target]) {
        let replica = self.cluster.replica();
        // Known here, if this node uploads, sooner than by the log.
        let archived = |target: &Target| {
            let here = self.uploaders.get(&target.name).map_or(0, |uploader| uploader.progress().archived);
            target.progress.archived.max(here)
        };
        let slowest = targets.iter().map(archived).filter(|archived| *archived > 0).min();
        let full = is_full(&self.cluster, &state.policy);
        if full && !std::mem::replace(&mut self.full, full) {
            tracing::error!(
                limit_mib = state.policy.spool_mib,
                "the log archive is so far behind that entries are given up: what they did is in images only"
            );
        }
        self.full = full;
        replica.hold(slowest.filter(|_| !full).map(|archived| archived.saturating_add(1)));
    }

    /// One uploader for each target, as it is set now.
    fn upload(&mut self, state: &State, targets: &[Target]) {
        self.uploaders.retain(|name, uploader| {
            targets.iter().any(|target| target.name == *name && uploader.is_for(state, target))
        });
        for target in targets {
            if !self.uploaders.contains_key(&target.name) {
                let uploader = Uploader::start(&self.cluster, state, target);
                self.uploaders.insert(target.name.clone(), uploader);
            }
        }
    }

    /// Says in the log how far each target is, now and then, and at once when something begins to fail or works again.
    async fn say(&mut self, targets: &[Target]) -> Result<(), Unanswered> {
        let rested = self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        let anyway = self.said.is_none_or(|said| said.elapsed() >= SAY_ANYWAY);
        for target in targets {
            let Some(now) = self.uploaders.get(&target.name).map(Uploader::progress) else { continue };
            // Where the archive begins is said at once: every node must hold the log back from there.
            let begins = target.progress.archived == 0 && now.archived > 0;
            let changed = now.failing != target.progress.failing;
            let news = rested && is_news(&self.own, &target.progress, &now);
            if !(begins || changed || anyway || news) {
                continue;
            }
            let command = NoteProgress { target: target.name.clone(), progress: now };
            let ticket = Ticket::system(RequestId(Uuid::now_v7()));
            let answer = self.cluster.propose(&ticket, OrgId::SYSTEM, &command).await?;
            self.own.insert(answer.index);
            while self.own.len() > OWN_MAX {
                self.own.pop_first();
            }
            self.said = Some(Instant::now());
        }
        Ok(())
    }
}

/// Whether the log is longer than it may be for the sake of targets.
fn is_full(cluster: &Cluster, policy: &Policy) -> bool {
    let asked = raft::planted_with("spool_mib ").and_then(|mib| mib.parse().ok());
    let spool_max = u64::from(asked.unwrap_or(policy.spool_mib)) << 20;
    cluster.replica().status().log.bytes_on_disk > spool_max
}

/// What the retirement of the cluster keys older than `generation` waits for, on the leader: vaults that are not under it
/// yet. What former data keys of files sealed opens with the vault alone, and would open no more. Not for longer than the
/// log waits for targets.
pub async fn vaults_behind(cluster: &Cluster, generation: Generation) -> Result<Vec<String>, Unanswered> {
    let look = |tx: &rusqlite::Connection| Ok((queries::state(tx)?, queries::targets(tx)?));
    let (state, targets) = cluster.read(&View::Local, OrgId::SYSTEM, look).await?.unwrap_or_default();
    if state.is_none_or(|state| is_full(cluster, &state.policy)) {
        return Ok(Vec::new());
    }
    let said = cluster.reported(REPORT);
    let vault = |target: &Target| said.get(&target.name)?.get("vault")?.as_u64();
    let behind = targets.iter().filter(|target| vault(target).is_none_or(|at| at < u64::from(generation)));
    Ok(behind
        .map(|target| format!("the vault of backup target {} is not under the new key yet", target.name))
        .collect())
}

/// Whether anything but our own words was archived, or an image put.
fn is_news(own: &BTreeSet<u64>, before: &Progress, now: &Progress) -> bool {
    let since = |index: u64| index > before.archived && index <= now.archived;
    let more = now.archived.saturating_sub(before.archived);
    let own = own.iter().filter(|index| since(**index)).count();
    more > own as u64 || now.cut_at > before.cut_at && before.cut_at.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_no_news_and_neither_are_our_own_words() {
        let own = BTreeSet::from([5, 8]);
        let at = |archived| Progress { archived, ..Progress::default() };
        for (before, now, news) in [(4, 5, false), (5, 7, true), (7, 8, false), (8, 8, false), (9, 3, false)]
        {
            assert_eq!(is_news(&own, &at(before), &at(now)), news, "{before} {now}");
        }
    }
}
