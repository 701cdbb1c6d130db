//! What fills one target: two tasks, one for the log archive and one for images, each of which begins anew when it fails.

use std::{
    convert::Infallible,
    fmt::Display,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    super::{
        bucket::Bucket,
        commands::{Load, Progress},
        lineage::Lineage,
        model::{Names, Policy},
        open_target,
        queries::{State, Target},
    },
    archive, images, retention,
};
use crate::{
    cluster::{Cluster, Tasks, caught},
    kernel::Millis,
    web::now,
};

/// Pauses after a failure.
const PAUSES: [u64; 5] = [1, 2, 5, 15, 30];

/// How often, and between which pauses, images wait for the archive.
const ARCHIVED_LOOKS: u32 = 100;
/// How often they wait until it was found to be ours: its last segment is read for that, at the pace that was set.
const PROVEN_LOOKS: u32 = 10 * ARCHIVED_LOOKS;
const ARCHIVED_LOOK: Duration = Duration::from_millis(100);

/// Fills a target until it is dropped.
pub(super) struct Uploader {
    about: About,
    progress: Arc<Mutex<Report>>,
    _tasks: Tasks,
}

/// What an uploader was started for: when it differs, another is started.
#[derive(Clone, PartialEq)]
struct About {
    lineage: Uuid,
    policy: Policy,
    settings: Value,
    credentials: Option<Vec<u8>>,
}

/// What the tasks of one uploader share.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) cluster: Cluster,
    pub(super) target: String,
    pub(super) bucket: Arc<Bucket>,
    pub(super) lineage: Lineage,
    pub(super) names: Names,
    pub(super) policy: Policy,
    /// The recovery key, sealed for life.
    pub(super) recovery: Vec<u8>,
    /// What was put is gone.
    emptied: Arc<AtomicBool>,
    /// What the archive holds was found to be this cluster's.
    proven: Arc<AtomicBool>,
    progress: Arc<Mutex<Report>>,
}

/// How far the tasks are, and what fails in each.
#[derive(Default)]
struct Report {
    progress: Progress,
    failing: [Option<String>; 3],
    load: Load,
    /// Entries that were cut from the log before they were archived, and the last of them.
    lost: u64,
    lost_to: u64,
    /// The generation of the cluster key under which the vault is, everything in it.
    vault: u32,
    /// When everything that had been put was found gone.
    emptied_at: Option<Millis>,
}

impl Report {
    fn told(&self) -> Progress {
        let failing: Vec<&str> = self.failing.iter().flatten().map(String::as_str).collect();
        Progress { failing: (!failing.is_empty()).then(|| failing.join("; ")), ..self.progress.clone() }
    }
}

/// The tasks of an uploader.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Archive,
    Images,
    Retention,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Images => "images",
            Self::Retention => "retention",
        }
    }
}

impl Uploader {
    pub(super) fn start(cluster: &Cluster, state: &State, target: &Target) -> Self {
        let about = About::of(state, target);
        let progress = Report {
            progress: Progress { failing: None, ..target.progress.clone() },
            load: Load { since: now(), ..Load::default() },
            ..Report::default()
        };
        let progress = Arc::new(Mutex::new(progress));
        let mut tasks = Tasks::of(cluster);
        match open_target(cluster.store().keyring(), target) {
            Ok(bucket) => {
                let line = Line {
                    cluster: cluster.clone(),
                    target: target.name.clone(),
                    bucket: Arc::new(bucket),
                    lineage: Lineage { id: state.lineage, restored: state.restored },
                    names: Names(state.lineage),
                    policy: state.policy,
                    recovery: state.recovery.clone(),
                    emptied: Arc::default(),
                    proven: Arc::default(),
                    progress: Arc::clone(&progress),
                };
                let of = |part: Part| format!("{} of target {}", part.name(), target.name);
                tasks.spawn(of(Part::Archive), line.clone().persist(Part::Archive, archive::run));
                tasks.spawn(of(Part::Images), line.clone().persist(Part::Images, images::run));
                tasks.spawn(of(Part::Retention), line.persist(Part::Retention, retention::run));
            }
            Err(why) => report(&progress, Part::Archive, Some(why)),
        }
        Self { about, progress, _tasks: tasks }
    }

    /// Whether it does what is wanted now.
    pub(super) fn is_for(&self, state: &State, target: &Target) -> bool {
        self.about == About::of(state, target)
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).told()
    }

    /// How far it is, what it has put, and what it could not, for whoever asks this node.
    pub(super) fn said(&self, spool_full: bool) -> Value {
        let report = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "progress": report.told(),
            "load": report.load,
            "lost": report.lost,
            "lost_to": report.lost_to,
            "vault": report.vault,
            "emptied_at": report.emptied_at,
            "spool_full": spool_full,
        })
    }
}

impl About {
    fn of(state: &State, target: &Target) -> Self {
        Self {
            lineage: state.lineage,
            policy: state.policy,
            settings: target.settings.clone(),
            credentials: target.credentials.clone(),
        }
    }
}

impl Line {
    /// Runs `work`, which ends only by failing, for ever.
    ///
    /// A panic in it is a failure of this target, and halts nobody: what it stumbled over may lie in the bucket, where the
    /// next leader would find it and halt too, and no writer is to wait for a backup. It begins anew with nothing
    /// remembered, as another uploader would.
    async fn persist<F: Future<Output = Result<Infallible, String>>>(
        self,
        part: Part,
        work: impl Fn(Self) -> F,
    ) -> Infallible {
        let mut failures = 0;
        loop {
            let began = tokio::time::Instant::now();
            let name = format!("the {} of target {}", part.name(), self.target);
            let why = match caught(&name, work(self.clone())).await {
                Ok(Err(why)) => why,
                Err(panic) => format!("{name} panicked, which is a bug, and began anew: {panic}"),
            };
            // What worked for a while and fails again is tried again at once.
            failures = if began.elapsed() > Duration::from_mins(1) { 0 } else { failures + 1 };
            self.failed(part, why);
            pause(failures).await;
        }
    }

    /// Begins the history in the bucket. That it was not begun there, although something was put, says that all of it is gone;
    /// whether that is so.
    pub(super) async fn begin_lineage(&self) -> Result<bool, String> {
        let begun = self.lineage.begin(&self.bucket).await?;
        let emptied = begun && (self.archived() > 0 || self.can_be_restored());
        if emptied {
            self.empty();
        }
        Ok(emptied)
    }

    /// Everything that was put is gone: images begin anew.
    fn empty(&self) {
        self.emptied.store(true, Ordering::SeqCst);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).emptied_at = Some(now());
    }

    /// Whether that was said since it was asked last.
    pub(super) fn was_emptied(&self) -> bool {
        self.emptied.swap(false, Ordering::SeqCst)
    }

    /// Whether what the archive holds is this cluster's: what is not known yet, or is not so any more, is not.
    pub(super) fn prove(&self, proven: bool) {
        self.proven.store(proven, Ordering::SeqCst);
    }

    /// Nothing is put into a history, or removed from it, that may be another's.
    pub(super) async fn require_own(&self) -> Result<(), String> {
        for _ in 0..PROVEN_LOOKS {
            if self.proven.load(Ordering::SeqCst) {
                return Ok(());
            }
            sleep(ARCHIVED_LOOK).await;
        }
        Err("it waits for the archive, of which is not known yet whether it is this cluster's".to_owned())
    }

    /// Everything up to this entry is in the archive, or came before it began; 0 before that.
    pub(super) fn archived(&self) -> u64 {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).progress.archived
    }

    /// Whether a catalogue of this history was put.
    pub(super) fn can_be_restored(&self) -> bool {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).progress.cut_at.is_some()
    }

    /// Waits until the archive holds everything that images hold: only then can they be restored. Not for long: an
    /// archive that fails is no reason to put no images.
    pub(super) async fn await_archived(&self, index: u64) {
        for _ in 0..ARCHIVED_LOOKS {
            if self.archived() >= index {
                return;
            }
            sleep(ARCHIVED_LOOK).await;
        }
    }

    /// Says that a part fails.
    pub(super) fn failed(&self, part: Part, why: impl Display) {
        let why = why.to_string();
        tracing::warn!(target = %self.target, ?part, why, "a backup target fails");
        report(&self.progress, part, Some(why));
    }

    /// Says that entries up to this one, so many, can be archived no more.
    pub(super) fn lose(&self, count: u64, upto: u64) {
        let mut report = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        report.lost += count;
        report.lost_to = upto;
    }

    /// Says that everything in the vault is under this generation of the cluster key.
    pub(super) fn sealed_under(&self, generation: u32) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).vault = generation;
    }

    /// Counts what was put.
    pub(super) fn count(&self, bytes: u64) {
        let load = &mut self.progress.lock().unwrap_or_else(PoisonError::into_inner).load;
        load.requests += 1;
        load.bytes += bytes;
    }

    /// Says that a part works, and how far it is.
    pub(super) fn works(&self, part: Part, step: impl FnOnce(&mut Progress)) {
        report(&self.progress, part, None);
        step(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner).progress);
    }
}

/// Waits longer the more often something has failed in a row.
pub(super) async fn pause(failures: usize) {
    let seconds = PAUSES.get(failures.min(PAUSES.len() - 1)).copied().unwrap_or_default();
    sleep(Duration::from_secs(seconds)).await;
}

fn report(progress: &Mutex<Report>, part: Part, why: Option<String>) {
    let mut report = progress.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = report.failing.get_mut(part as usize) {
        *slot = why;
    }
}
