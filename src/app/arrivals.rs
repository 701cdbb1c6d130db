//! The rest of a restore, while the restored node serves: organizations are fetched, those that somebody asks for first.
//!
//! Each is made beside the store as a whole restore makes it (`rebuild.rs`): its image, the entries after it that were put
//! aside, every row read back; then it arrives. What is under way at a crash is made again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use raft::Later;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    rebuild::{Log, Rebuild, undo_laid},
    spool::Spool,
};
use crate::{
    cluster::{Cluster, Tasks, caught},
    features::backup::{
        bucket::Bucket,
        restore::{Remains, Source},
    },
    kernel::{FileId, OrgId},
    store::{Store, remove_folder},
};

/// The folder of a store in which organizations are made that have not arrived.
pub const ARRIVING: &str = "arriving";
/// In that folder, the entries after the images.
pub const ASIDE: &str = "entries";
/// Organizations fetched side by side, and so many more that somebody asks for: they do not wait for large ones.
const AT_ONCE: usize = 8;
const ASKED_FOR_MORE: usize = 4;
/// Pauses after a failure, and after others in a row.
const PAUSES: [u64; 5] = [1, 2, 5, 15, 30];

/// Fetches what is awaited, until everything is here. Files whose outbox is to be looked at are told to `sent_from`.
pub fn arrivals(cluster: &Cluster, sent_from: watch::Sender<BTreeSet<OrgId>>) -> Tasks {
    let mut tasks = Tasks::of(cluster);
    let all = run(cluster.clone(), sent_from);
    tasks.spawn("fetch the rest of a restore", async move {
        all.await;
        pending().await
    });
    tasks
}

async fn run(cluster: Cluster, sent_from: watch::Sender<BTreeSet<OrgId>>) {
    for failures in 0.. {
        match Fetching::begin(&cluster, &sent_from).await {
            Ok(None) => return,
            Ok(Some(fetching)) => {
                cluster.store().stall(None);
                return fetching.run().await;
            }
            Err(why) => {
                tracing::error!(why, "the rest of the restore cannot be fetched");
                cluster.store().stall(Some(why));
                sleep(pause(failures)).await;
            }
        }
    }
}

fn pause(failures: usize) -> Duration {
    Duration::from_secs(PAUSES.get(failures.min(PAUSES.len() - 1)).copied().unwrap_or_default())
}

/// What one fetch needs.
struct Work {
    cluster: Cluster,
    remains: Remains,
    bucket: Arc<Bucket>,
    spool: Spool,
    folder: PathBuf,
}

struct Fetching {
    work: Arc<Work>,
    sent_from: watch::Sender<BTreeSet<OrgId>>,
    tasks: FuturesUnordered<Later<'static, (FileId, Result<(), Failed>)>>,
    under_way: BTreeSet<FileId>,
    /// Those that nobody has asked for: who changed last comes first.
    queue: VecDeque<FileId>,
    /// Those that failed: how often, and when they are tried again.
    failed: BTreeMap<FileId, (usize, Instant)>,
    /// The bucket does not answer: how often in a row, and when it is tried again.
    away: Option<(usize, Instant)>,
}

enum Failed {
    /// The bucket does not answer.
    Away(String),
    /// It does, and this file cannot be had of it.
    File(String),
}

impl Fetching {
    /// `None` when there is nothing left to do.
    async fn begin(
        cluster: &Cluster,
        sent_from: &watch::Sender<BTreeSet<OrgId>>,
    ) -> Result<Option<Self>, String> {
        let store = Arc::clone(cluster.store());
        let folder = store.root().join(ARRIVING);
        let from = cluster.on_files(Store::awaited_from).await?;
        let Some(from) = from else { return Ok(None) };
        if store.arrived().is_none() {
            end(cluster, &folder).await?;
            return Ok(None);
        }
        let remains: Remains = serde_json::from_value(from)
            .map_err(|error| format!("what a restore left to fetch was noted by another version: {error}"))?;
        let bucket = Arc::new(remains.bucket(store.keyring())?);
        let aside = folder.join(ASIDE);
        let spool = tokio::task::spawn_blocking(move || Spool::open(&aside)).await;
        let spool = spool.map_err(|error| error.to_string())??;
        let mut queue: Vec<_> =
            remains.plan.catalogue.files.iter().map(|(file, image)| (Reverse(image.at), *file)).collect();
        queue.sort_unstable();
        let work = Arc::new(Work { cluster: cluster.clone(), remains, bucket, spool, folder });
        Ok(Some(Self {
            work,
            sent_from: sent_from.clone(),
            tasks: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            queue: queue.into_iter().map(|(_, file)| file).collect(),
            failed: BTreeMap::new(),
            away: None,
        }))
    }

    async fn run(mut self) {
        let store = Arc::clone(self.work.cluster.store());
        let mut news = store.arrivals();
        tracing::info!(restore = ?store.arrived(), "the node serves, and fetches the rest of the restore");
        // What the last one has to tell is told, too.
        while store.arrived().is_some() || !self.tasks.is_empty() {
            news.mark_unchanged();
            self.start();
            let later = self.later();
            tokio::select! {
                Some((file, outcome)) = self.tasks.next(), if !self.tasks.is_empty() => self.done(file, outcome),
                _ = news.changed() => {}
                () = sleep_until(later) => {}
            }
        }
        if end(&self.work.cluster, &self.work.folder).await.is_ok() {
            tracing::info!("the restore is complete");
        }
    }

    /// Begins as many as may be under way.
    fn start(&mut self) {
        let now = Instant::now();
        if self.away.is_some_and(|(_, again)| again > now) {
            return;
        }
        for file in self.work.cluster.store().wanted() {
            self.start_one(file, AT_ONCE + ASKED_FOR_MORE);
        }
        let due: Vec<FileId> =
            self.failed.iter().filter(|(_, (_, again))| *again <= now).map(|(file, _)| *file).collect();
        for file in due {
            self.start_one(file, AT_ONCE);
        }
        while self.under_way.len() < AT_ONCE
            && let Some(file) = self.queue.pop_front()
        {
            self.start_one(file, AT_ONCE);
        }
    }

    fn start_one(&mut self, file: FileId, most: usize) {
        let rests = self.failed.get(&file).is_some_and(|(_, again)| *again > Instant::now());
        let idle = !self.under_way.contains(&file) && self.work.cluster.store().is_awaited(file);
        if rests || !idle || self.under_way.len() >= most {
            return;
        }
        self.under_way.insert(file);
        let work = Arc::clone(&self.work);
        self.tasks.push(Box::pin(async move {
            let fetched = caught("fetch an organization", work.fetch(file)).await;
            (file, fetched.unwrap_or_else(|panic| Err(Failed::File(panic))))
        }));
    }

    /// When something is to be tried again.
    fn later(&self) -> Instant {
        let away = self.away.map(|(_, again)| again);
        let idle = self.failed.iter().filter(|(file, _)| !self.under_way.contains(file));
        let next =
            away.into_iter().chain(idle.map(|(_, (_, again))| *again)).filter(|at| *at > Instant::now());
        next.min().unwrap_or_else(|| Instant::now() + Duration::from_mins(1))
    }

    fn done(&mut self, file: FileId, outcome: Result<(), Failed>) {
        self.under_way.remove(&file);
        let store = self.work.cluster.store();
        match outcome {
            Ok(()) => {
                self.failed.remove(&file);
                if self.away.take().is_some() {
                    store.stall(None);
                }
                self.sent_from.send_modify(|waiting| waiting.extend([file]));
            }
            Err(Failed::File(why)) => {
                let failures = self.failed.get(&file).map_or(0, |(failures, _)| failures + 1);
                self.failed.insert(file, (failures, Instant::now() + pause(failures)));
                if self.away.take().is_some() {
                    store.stall(None);
                }
                store.fails_to_arrive(file, &why);
            }
            Err(Failed::Away(why)) => {
                self.queue.push_front(file);
                // Those that were under way when it went are one failure.
                if self.away.is_none_or(|(_, again)| again <= Instant::now()) {
                    let failures = self.away.map_or(0, |(failures, _)| failures + 1);
                    self.away = Some((failures, Instant::now() + pause(failures)));
                    tracing::warn!(why, "the restore waits for the backup");
                }
                store.stall(Some(why));
            }
        }
    }
}

impl Work {
    async fn fetch(&self, file: FileId) -> Result<(), Failed> {
        let Err(why) = self.make(file).await else { return Ok(()) };
        match self.source().answers().await {
            Ok(()) => Err(Failed::File(why)),
            Err(away) => Err(Failed::Away(away)),
        }
    }

    fn source(&self) -> Source<'_> {
        Source::of(&self.bucket, self.remains.lineage, self.cluster.store().keyring())
    }

    /// Makes one file, and has it arrive.
    async fn make(&self, file: FileId) -> Result<(), String> {
        let scratch = self.folder.join(file.to_string());
        undo_laid(&scratch).map_err(|fault| fault.to_string())?;
        let only = BTreeSet::from([file]);
        let source = self.source();
        let rebuild = Rebuild {
            source: &source,
            keys: &self.remains.keys,
            keyring: Arc::clone(self.cluster.store().keyring()),
            plan: &self.remains.plan,
            only: Some(&only),
            log: Log::Spooled(&self.spool),
            root: &scratch,
            progress: &|_| {},
        };
        let made = rebuild.run().await?.files.get(&file).map(|(mark, _)| *mark);
        let arrive = move |store: &Store| {
            match made {
                Some(mark) => store.arrive(&scratch, file, mark)?,
                // Its last entry destroyed it.
                None => store.arrive_destroyed(file)?,
            }
            // What stays goes with the folder.
            let _ = fs::remove_dir_all(&scratch);
            Ok(())
        };
        self.cluster.on_files(arrive).await
    }
}

/// Everything is here: nothing is kept of the restore.
async fn end(cluster: &Cluster, folder: &Path) -> Result<(), String> {
    let folder = folder.to_owned();
    let ended = move |store: &Store| {
        remove_folder(&folder)?;
        store.end_awaiting()
    };
    cluster.on_files(ended).await
}
