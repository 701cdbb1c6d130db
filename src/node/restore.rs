//! A node made from a backup: its keyring, its files, and a cluster of it alone, that others then join.
//!
//! Only the system file need be here for that: the node then serves, and fetches the organizations (`app/arrivals.rs`).
//!
//! A note in the folder says that it is under way; the same command goes on where it was cut short. While the note is
//! there nothing is served.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use raft::Replica;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Failure, NodeConfig,
    folder::{DataFolder, Founding},
    founding::replica_config,
};
use crate::{
    app::{ARRIVING, ASIDE, ENTRIES_MAX, Far, Log, Rebuild, Rebuilt, Spooling, undo_laid},
    cluster::{Cluster, Ticket, Unanswered},
    features::backup::{
        BeginLineage,
        bucket::{Bucket, Credentials, Settings},
        formats::{Image, RecoveryKey},
        restore::{self, History, Opened, Plan, Remains, Source, Until},
    },
    kernel::{Fault, FileId, Millis, OrgId, RequestId},
    store::{Keyring, Store, expect, key_text, read_if_present, write_secret},
};

/// What is restored, from where.
pub struct Restore<'a> {
    /// The bucket.
    pub bucket: Arc<Bucket>,
    /// Where it is, and what opens it.
    pub place: (Settings, Option<Credentials>),
    /// The history that leads, when none is named.
    pub lineage: Option<Uuid>,
    /// What opens it.
    pub recovery: RecoveryKey,
    /// Up to where.
    pub until: Until,
    /// Whether everything is fetched before the node serves.
    pub whole: bool,
    /// Told how far it is.
    pub progress: &'a (dyn Fn(Far) + Sync),
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The history it came from.
    pub from: Uuid,
    /// The last entry.
    pub index: u64,
    /// Its stamp.
    pub moment: Millis,
    /// What was made.
    pub rebuilt: Rebuilt,
    /// How many files, and bytes of them, the node fetches while it serves.
    pub awaited: (usize, u64),
    /// How long it took.
    pub took: Duration,
}

/// What a node that was restored says in its first entry.
#[derive(Serialize, Deserialize)]
struct Note {
    lineage: Uuid,
    from: Uuid,
    index: u64,
}

const NOTE: &str = "restored.json";
const SEEN_WITHIN: Duration = Duration::from_secs(30);

impl Restore<'_> {
    /// Makes the data folder of `config` hold a cluster of this node alone.
    pub async fn cluster(self, config: &NodeConfig) -> Result<Restored, Failure> {
        let began = Instant::now();
        let folder = DataFolder::claim(&config.data_dir)?;
        prepare(&folder)?;
        let found =
            restore::find(&self.bucket, History::named(self.lineage), &self.recovery, self.until).await;
        let (opened, plan) = found.map_err(unreadable)?;
        let Opened { lineage: from, keyring, vault, .. } = opened;
        let keyring = Arc::new(folder.keep(keyring, &config.seal)?);
        let root = folder.store();
        let later = if self.whole { BTreeMap::new() } else { later(&plan, &vault.files) };
        let aside = if later.is_empty() { None } else { Some(aside(&root)?) };
        let source = Source::of(&self.bucket, from, &keyring);
        let work = Rebuild {
            source: &source,
            keys: &vault.files,
            keyring: Arc::clone(&keyring),
            plan: &plan,
            only: None,
            log: aside.as_ref().map_or(Log::Archive, Log::Aside),
            root: &root,
            progress: self.progress,
        };
        let rebuilt = work.run().await.map_err(unreadable)?;
        let bytes = later.keys().filter_map(|file| plan.catalogue.files.get(file)).map(Image::bytes).sum();
        let awaited = (later.len(), bytes);
        if let Some(aside) = aside {
            aside.end().map_err(unreadable)?;
            self.leave(&root, from, &plan, later, &keyring)?;
        }
        finish(config, &folder, &keyring, &plan, from, rebuilt.newest_ms)?;
        let (index, moment) = (plan.index, plan.moment);
        Ok(Restored { from, index, moment, rebuilt, awaited, took: began.elapsed() })
    }

    /// Notes what the node is to fetch while it serves.
    fn leave(
        &self,
        root: &Path,
        from: Uuid,
        plan: &Plan,
        later: BTreeMap<FileId, String>,
        keyring: &Keyring,
    ) -> Result<(), Failure> {
        let image = |file: &FileId| plan.catalogue.files.get(file).map(Image::bytes).unwrap_or_default();
        let files = later.keys().map(|file| (*file, image(file))).collect();
        let place = (&self.place.0, self.place.1.as_ref());
        let remains = Remains::new(from, plan, later, place, keyring)?;
        let remains = serde_json::to_value(remains)
            .map_err(|error| Fault::new("write what is left to fetch", error))?;
        Ok(expect(root, files, remains)?)
    }
}

/// The organizations that can be fetched later, each with the lines of its keys. None, when too many entries follow their
/// images to be put aside.
fn later(plan: &Plan, keys: &BTreeMap<FileId, String>) -> BTreeMap<FileId, String> {
    if plan.index.saturating_sub(plan.catalogue.cut) > ENTRIES_MAX {
        return BTreeMap::new();
    }
    let known = |(file, image): (&FileId, &Image)| {
        let lines = keys.get(file).filter(|_| !file.is_system())?;
        key_text(lines, image.key, plan.index).map(|_| (*file, lines.clone()))
    };
    plan.catalogue.files.iter().filter_map(known).collect()
}

fn aside(root: &Path) -> Result<Spooling, Failure> {
    let folder = root.join(ARRIVING);
    fs::create_dir_all(&folder).map_err(|error| Fault::new(format!("make {}", folder.display()), error))?;
    Spooling::create(&folder.join(ASIDE)).map_err(unreadable)
}

impl Restore<'_> {
    /// Writes one file of the store as a plain SQLite file to `to`, beside which it needs as much room again for what is fetched.
    pub async fn file(self, file: OrgId, to: &Path) -> Result<Restored, Failure> {
        let began = Instant::now();
        let found =
            restore::find(&self.bucket, History::named(self.lineage), &self.recovery, self.until).await;
        let (opened, plan) = found.map_err(unreadable)?;
        let Opened { lineage: from, keyring, vault, .. } = opened;
        let keyring = Arc::new(keyring);
        let source = Source::of(&self.bucket, from, &keyring);
        // Ours alone by its name: what an attempt that was cut short laid down there goes.
        let mut scratch = to.as_os_str().to_owned();
        scratch.push(".threatflow-restore");
        let scratch = PathBuf::from(scratch);
        undo_laid(&scratch)?;
        let only = BTreeSet::from([file]);
        let work = Rebuild {
            source: &source,
            keys: &vault.files,
            keyring: Arc::clone(&keyring),
            plan: &plan,
            only: Some(&only),
            log: Log::Archive,
            root: &scratch,
            progress: self.progress,
        };
        let rebuilt = work.run().await.map_err(unreadable)?;
        if !rebuilt.files.contains_key(&file) {
            let what = format!("there was no organization {file} then, or it was erased since");
            return Err(Failure::new(what, "check the id and the moment"));
        }
        let store = Store::open(&scratch, keyring)?;
        store.write_plain(file, to)?;
        drop(store);
        fs::remove_dir_all(&scratch)
            .map_err(|error| Fault::new(format!("remove {}", scratch.display()), error))?;
        let (index, moment, awaited) = (plan.index, plan.moment, (0, 0));
        Ok(Restored { from, index, moment, rebuilt, awaited, took: began.elapsed() })
    }
}

/// The folder must be empty, or hold what an earlier attempt left.
fn prepare(folder: &DataFolder) -> Result<(), Failure> {
    let full = |what: String| {
        let fix =
            "a restore never writes over data: name an empty folder with --data-dir, or move this one away";
        Err(Failure::new(what, fix))
    };
    match folder.unfinished()? {
        Some(Founding::Restore) => {
            // What was laid down goes: images that were fetched whole lie apart, and stay.
            tracing::info!("an earlier restore was cut short; going on");
            folder.undo_restore()?;
        }
        Some(_) => return full("a node was beginning or joining a cluster in this folder".to_owned()),
        None if Replica::exists(&folder.raft()) => return full("this folder holds a node's data".to_owned()),
        None => folder.require_empty()?,
    }
    folder.begin(Founding::Restore)?;
    Ok(())
}

/// Who the node is, last of all: from then on it is a member.
fn finish(
    config: &NodeConfig,
    folder: &DataFolder,
    keyring: &Keyring,
    plan: &Plan,
    from: Uuid,
    newest_ms: u64,
) -> Result<(), Failure> {
    let note = Note { lineage: Uuid::now_v7(), from, index: plan.index };
    let text = serde_json::to_vec(&note).map_err(|error| Fault::new("write what was restored", error))?;
    write_secret(&folder.restored(NOTE), &text)?;
    let replica = replica_config(config, folder, config.url(config.listen));
    Replica::refound(&replica, plan.index, newest_ms, keyring)?;
    folder.finish()?;
    Ok(())
}

fn unreadable(why: String) -> Failure {
    Failure::new(
        format!("the backup cannot be restored: {why}"),
        "`threatflow backup verify` says what is whole; an earlier moment (--timestamp, --index) or another target may be",
    )
}

/// A node that was restored begins a history of its own before it serves: nothing may be written after the old one.
pub(super) async fn begin_lineage(cluster: &Cluster, folder: &DataFolder) -> Result<(), Failure> {
    let path = folder.restored(NOTE);
    let Some(text) = read_if_present(&path)? else { return Ok(()) };
    let damaged = |error| Fault::new(format!("read {}", path.display()), error);
    let Note { lineage, from, index } = serde_json::from_slice(&text).map_err(damaged)?;
    // Asked again after a crash it is the same request.
    let ticket = Ticket::system(RequestId(lineage));
    loop {
        match cluster.propose(&ticket, OrgId::SYSTEM, &BeginLineage { lineage, from, index }).await {
            Ok(answer) => {
                // Seen by everybody here before anything is uploaded.
                let seen = cluster.replica().wait_applied(answer.index, SEEN_WITHIN).await;
                if seen.is_ok() {
                    break;
                }
            }
            Err(Unanswered::NoQuorum | Unanswered::OutcomeUnknown) => {}
            Err(Unanswered::Broken(fault)) => return Err(fault.into()),
            Err(Unanswered::Halted) => return Err(Failure::fault(cluster.replica().halted().await)),
            Err(other) => {
                return Err(Failure::fault(format!("the restored cluster could not begin: {other:?}")));
            }
        }
    }
    forget(&path)
}

fn forget(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| Fault::new(format!("remove {}", path.display()), error))?;
    Ok(())
}
