//! Images: every few seconds each file that changed goes up as an LTX file, and then the catalogue that names them all.
//!
//! What was put last is remembered page by page, as eight bytes of a digest of each. That is lost with the process and
//! with the leadership: the next uploader takes a new epoch, and begins a chain for each file when it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use raft::Later;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    super::{
        bucket::{Created, Version},
        formats::{Catalogue, Image, RecoveryKey, Vault},
        ltx::LtxName,
        objects, recovery_key,
        restore::Source,
    },
    compaction::{Loose, compact},
    uploader::{Line, Part, pause},
};
use crate::{
    cluster::{Cluster, View},
    features::{keys, organizations},
    kernel::{Fault, FileId, Millis, OrgId},
    store::{Captured, Generation, Pages, Store, moved_lines},
    web::now,
};

/// A chain is begun anew when it has more bytes than the file itself and this.
const CHAIN_BYTES_FREE: u64 = 1 << 20;
/// And when it is this old.
const CHAIN_AGE_MAX_MS: i64 = 86_400_000;
/// Files that are put whole by one request; larger ones go in parts.
const WHOLE_BYTES_MAX: u64 = 8 << 20;
/// Files that are put side by side.
const PUT_AT_ONCE: usize = 8;
/// What a whole image is to litestream.
const SNAPSHOT_LEVEL: u8 = 9;
/// Larger catalogues, those of more than some sixty files, are put once a minute.
const CATALOGUE_BYTES_FREE: usize = 16 << 10;
const CATALOGUE_REST: Duration = Duration::from_mins(1);
const VAULT_READ_EVERY: Duration = Duration::from_mins(10);
/// Epochs tried before giving up: each was taken by another uploader meanwhile.
const EPOCHS_TRIED_MAX: u32 = 100;

/// Puts images for ever.
pub(super) async fn run(line: Line) -> Result<Infallible, String> {
    Ok(Images::new(line).run().await)
}

/// The uploader of images.
struct Images {
    line: Line,
    epoch: Option<u32>,
    chains: BTreeMap<FileId, Arc<Chain>>,
    /// The image of each file that the next catalogue names.
    entries: BTreeMap<FileId, Image>,
    vault: Option<(Version, Vault)>,
    /// When it is read again, whatever is known of it.
    vault_due: Option<Instant>,
    /// What the vault was made from.
    keys: Option<Keys>,
    /// The keys that files had when images of them were made, as long as the vault may lack them.
    lines: BTreeMap<FileId, String>,
    /// What the last catalogue said.
    told: Option<Catalogue>,
    /// Whether this history was made the one that leads, if that is for it.
    leads: bool,
    /// Until when no further one is put.
    rest: Option<Instant>,
}

/// What says that the vault may have to change: the keys of the images, those of the cluster, and from which of these on the
/// vault keeps what the cluster has forgotten.
type Keys = (Vec<(FileId, u32)>, u32, BTreeMap<u32, String>, Generation);

/// What was put of a file, in this epoch.
#[derive(Clone, Debug, Default)]
struct Chain {
    prints: Vec<u64>,
    mark: u64,
    bytes: u64,
    begun: Millis,
    loose: Loose,
}

#[derive(Serialize)]
struct EpochText {
    epoch: u32,
    node: u64,
    at: Millis,
}

impl Images {
    fn new(line: Line) -> Self {
        let (chains, entries, lines) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            line,
            epoch: None,
            chains,
            entries,
            vault: None,
            vault_due: None,
            keys: None,
            lines,
            told: None,
            leads: false,
            rest: None,
        }
    }

    /// For ever: what fails is tried again with what is remembered.
    async fn run(mut self) -> Infallible {
        let mut failures = 0;
        let mut ticks = interval(Duration::from_secs(u64::from(self.line.policy.image_seconds.max(1))));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.pass().await {
                Ok(()) => failures = 0,
                Err(why) => {
                    failures += 1;
                    self.line.failed(Part::Images, why);
                    pause(failures).await;
                }
            }
        }
    }

    async fn pass(&mut self) -> Result<(), String> {
        if self.line.was_emptied() {
            *self = Self::new(self.line.clone());
        }
        self.line.require_own().await?;
        let epoch = self.begin().await?;
        // The archive is followed from the cut: it must have begun before, else what comes between is in neither.
        self.line.await_archived(1).await;
        // In this order: every entry up to `cut` is in the marks that are read after it.
        let mut cut = self.line.cluster.replica().applied_index();
        let store = Arc::clone(self.line.cluster.store());
        let files: BTreeSet<FileId> = store.list().into_iter().collect();
        self.entries.retain(|file, _| files.contains(file));
        self.chains.retain(|file, _| files.contains(file));
        let marks: BTreeMap<FileId, u64> = files.into_iter().map(|file| (file, store.mark(file))).collect();
        // A rotation of the cluster key waits for it, and must not wait for an image that cannot be put.
        self.put_vault().await?;
        self.put_images(epoch, &marks).await?;
        for (file, mark) in marks {
            match self.entries.get(&file) {
                // A reader kept the file's log from being copied into it, or it is set aside, and its mark stands still
                // while entries pass: what it lacks is to be taken from the archive.
                Some(image) if image.mark < mark || store.is_quarantined(file) => cut = cut.min(image.mark),
                Some(_) => {}
                None if !store.exists(file) => {}
                None => return Err(format!("file {file} is in quarantine on the leader, and was never put")),
            }
        }
        self.put_vault().await?;
        self.put_catalogue(epoch, cut).await
    }

    /// Takes an epoch, and takes over what the newest catalogue says of files that did not change since.
    async fn begin(&mut self) -> Result<u32, String> {
        if let Some(epoch) = self.epoch {
            return Ok(epoch);
        }
        let Line { bucket, names, .. } = &self.line;
        self.line.begin_lineage().await?;
        let taken = objects::list(bucket, &names.epochs(), None).await?;
        let last = taken.iter().filter_map(|object| names.parse_epoch(&object.key)).max().unwrap_or(0);
        let source = Source::of(bucket, self.line.lineage.id, self.line.cluster.store().keyring());
        if let Some(catalogue) = source.newest_readable().await? {
            self.entries = catalogue.files;
        }
        let node = self.line.cluster.replica().status().node;
        for epoch in last + 1..=last + EPOCHS_TRIED_MAX {
            let text = serde_json::to_vec(&EpochText { epoch, node, at: now() })
                .map_err(|error| error.to_string())?;
            let made = bucket.create(&names.epoch(epoch), Bytes::from(text), None).await;
            if made.map_err(objects::told)? == Created::Created {
                self.epoch = Some(epoch);
                return Ok(epoch);
            }
        }
        Err("no epoch could be taken: others take them all".to_owned())
    }

    /// Puts what changed of every file that changed, some side by side. What was put stays known when others fail.
    async fn put_images(&mut self, epoch: u32, marks: &BTreeMap<FileId, u64>) -> Result<(), String> {
        let mut putting: Vec<Later<'_, Attempt>> = Vec::new();
        for (file, mark) in marks {
            let image = self.entries.get(file);
            if image.is_some_and(|image| image.mark == *mark) {
                continue;
            }
            let (line, file) = (self.line.clone(), *file);
            let chain = self.chains.get(&file).filter(|chain| !chain.is_long(image)).cloned();
            putting.push(Box::pin(async move { (file, put_image(&line, epoch, file, chain).await) }));
        }
        let mut putting = stream::iter(putting).buffer_unordered(PUT_AT_ONCE);
        let mut failed = None;
        while let Some((file, put)) = putting.next().await {
            match put {
                Ok(None) => {}
                Ok(Some(Put { image, chain, lines })) => {
                    self.lines.entry(file).or_default().push_str(&lines);
                    if let Some(chain) = chain {
                        self.chains.insert(file, Arc::new(chain));
                    }
                    self.entries.insert(file, image);
                }
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The vault holds the keys of every file that lives, and no others.
    async fn put_vault(&mut self) -> Result<(), String> {
        let Line { bucket, names, lineage, cluster, .. } = &self.line;
        let keyring = cluster.store().keyring();
        let of_images: Vec<_> = self.entries.iter().map(|(file, image)| (*file, image.key)).collect();
        let keys = |from| (of_images.clone(), keyring.active(), keyring.generations(), from);
        let due = self.vault_due.is_none_or(|due| due <= Instant::now());
        if !due && self.keys == Some(keys(clean_from(cluster, &View::Local).await?)) {
            self.lines.clear();
            return Ok(());
        }
        if due {
            // Read anew now and then: whoever else wrote it is not heard of otherwise.
            (self.vault, self.vault_due) = (None, Some(Instant::now() + VAULT_READ_EVERY));
        }
        let key = names.vault();
        let there = match self.vault.take() {
            Some(known) => Some(known),
            None => match bucket.get(&key).await.map_err(objects::told)? {
                None => None,
                Some(found) => {
                    let vault = serde_json::from_slice(&found.bytes);
                    Some((found.version, vault.map_err(|error| format!("{key} is damaged: {error}"))?))
                }
            },
        };
        // After the vault was read: who does not lead any more has an older store than the one who wrote it.
        let from = clean_from(cluster, &View::Strong).await?;
        let keys = keys(from);
        let generation = keys.1;
        let recovery = recovery_key(keyring, &self.line.recovery).map_err(|fault| fault.to_string())?;
        let (store, lineage, lines) = (Arc::clone(cluster.store()), lineage.id, self.lines.clone());
        let known = there.as_ref().map(|(_, vault)| vault.clone());
        let work = move || vault(&store, lineage, &recovery, known.as_ref(), &lines, from);
        let made = spawn_blocking(work).await;
        let made = made.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
        let Some(fresh) = made else {
            (self.vault, self.keys) = (there, Some(keys));
            self.lines.clear();
            self.line.sealed_under(generation);
            return Ok(());
        };
        let text = serde_json::to_vec(&fresh).map_err(|error| error.to_string())?;
        self.line.count(text.len() as u64);
        let before = there.map(|(version, _)| version);
        let version = objects::rewrite(bucket, &key, text.into(), before.as_ref()).await?;
        (self.vault, self.keys) = (version.map(|version| (version, fresh)), Some(keys));
        self.lines.clear();
        self.line.sealed_under(generation);
        Ok(())
    }

    async fn put_catalogue(&mut self, epoch: u32, cut: u64) -> Result<(), String> {
        // One of the same cut would have the same name: from the one that is there the archive leads on.
        let same = self.told.as_ref().is_some_and(|told| told.files == self.entries || cut <= told.cut);
        if !same && self.may_tell() {
            let high = self.entries.values().map(|image| image.mark).max().unwrap_or(0);
            let newest = self.entries.values().map(|image| image.at).max().unwrap_or(Millis(0));
            let (lineage, files) = (self.line.lineage.id, self.entries.clone());
            let catalogue = Catalogue { lineage, epoch, cut, high: high.max(cut), newest, files };
            self.line.await_archived(catalogue.high).await;
            let keyring = self.line.cluster.store().keyring();
            let text = catalogue.encode(keyring).map_err(|fault| fault.to_string())?;
            let key = self.line.names.catalogue(cut, epoch);
            let bytes = text.len();
            self.line.count(bytes as u64);
            objects::put_once(&self.line.bucket, &key, text.into(), None).await?;
            self.told = Some(catalogue);
            self.rest = (bytes > CATALOGUE_BYTES_FREE).then(|| Instant::now() + CATALOGUE_REST);
            self.line.works(Part::Images, |progress| {
                progress.cut = cut;
                progress.cut_at = Some(now());
            });
        }
        if self.told.is_some() && !self.leads {
            self.line.lineage.begin_to_lead(&self.line.bucket).await?;
            self.leads = true;
        }
        self.line.works(Part::Images, |_| {});
        Ok(())
    }

    /// The catalogue of very many files is put less often: from one to the next the archive leads.
    fn may_tell(&self) -> bool {
        self.rest.is_none_or(|until| until <= Instant::now())
    }
}

/// From which generation of the cluster key on the vault keeps those that the cluster has forgotten.
async fn clean_from(cluster: &Cluster, view: &View) -> Result<Generation, String> {
    let look = |tx: &rusqlite::Connection| keys::clean_from(tx, organizations::last_erased(tx)?);
    let clean = cluster.read(view, OrgId::SYSTEM, look).await;
    let clean = clean.map_err(|reason| format!("what was erased last is not known: {reason:?}"))?;
    Ok(clean.flatten().unwrap_or(Generation::MAX))
}

/// What was put of a file: its image, and its chain unless that did not change.
struct Put {
    image: Image,
    chain: Option<Chain>,
    lines: String,
}

/// What became of a file: nothing when it is gone or must not be read here.
type Attempt = (FileId, Result<Option<Put>, String>);

/// Puts what changed of a file, or all of it; nothing when it does not exist or must not be read here.
async fn put_image(
    line: &Line,
    epoch: u32,
    file: FileId,
    before: Option<Arc<Chain>>,
) -> Result<Option<Put>, String> {
    let store = Arc::clone(line.cluster.store());
    let to = scratch(&store, &line.target, file)?;
    let place = to.clone();
    let made = spawn_blocking(move || capture(&store, file, before.as_deref(), &place)).await;
    let made = made.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
    let Some((captured, made)) = made else { return Ok(None) };
    let Captured { mark, at, sum, page_bytes, pages, key, lines } = captured;
    let image = Image { epoch, mark, at, sum, key, pages, page_bytes };
    let Some(Made { mut chain, name, bytes }) = made else {
        return Ok(Some(Put { image, chain: None, lines }));
    };
    let (bucket, place) = (&line.bucket, line.names.chain(file, epoch));
    let key = format!("{place}/{}", name.key(objects::layout(bucket)));
    line.count(bytes);
    if bytes > WHOLE_BYTES_MAX {
        objects::put_file_once(bucket, &key, &to, &to.with_extension("there"), at).await?;
    } else {
        let text = fs::read(&to).map_err(|error| format!("read {}: {error}", to.display()))?;
        objects::put_once(bucket, &key, text.into(), Some(at)).await?;
    }
    let put = compact(bucket, &place, &mut chain.loose, &to).await?;
    for bytes in put {
        line.count(bytes);
    }
    let _ = fs::remove_file(&to);
    Ok(Some(Put { image, chain: Some(chain), lines }))
}

impl Chain {
    /// Whether a new one is due, for a file of which the last image is `image`.
    fn is_long(&self, image: Option<&Image>) -> bool {
        let whole = image.map_or(0, Image::bytes);
        self.bytes > whole + CHAIN_BYTES_FREE || now().0 - self.begun.0 > CHAIN_AGE_MAX_MS
    }
}

/// An LTX file that was made.
struct Made {
    chain: Chain,
    name: LtxName,
    bytes: u64,
}

/// Writes the pages that changed since `chain`, or all of them, to `to`.
fn capture(
    store: &Store,
    file: FileId,
    before: Option<&Chain>,
    to: &std::path::Path,
) -> Result<Option<(Captured, Option<Made>)>, Fault> {
    let begun = Chain::default();
    let mut difference = Difference { before: before.unwrap_or(&begun), prints: Vec::new(), to, out: None };
    let Some(captured) = store.capture(file, &mut difference)? else { return Ok(None) };
    let Difference { before, prints, out, .. } = difference;
    let Some(out) = out else { return Ok(Some((captured, None))) };
    let bytes = objects::finish_ltx(out)?;
    let whole = before.mark == 0;
    let (level, min) = if whole { (SNAPSHOT_LEVEL, 1) } else { (0, before.mark + 1) };
    let mut chain = Chain {
        prints,
        mark: captured.mark,
        bytes: if whole { 0 } else { before.bytes + bytes },
        begun: if whole { now() } else { before.begun },
        loose: before.loose.clone(),
    };
    let name = LtxName { level, min, max: captured.mark };
    chain.loose.add(name);
    Ok(Some((captured, Some(Made { chain, name, bytes }))))
}

/// Takes the pages that are not as they were.
struct Difference<'a> {
    before: &'a Chain,
    prints: Vec<u64>,
    to: &'a std::path::Path,
    out: Option<objects::Ltx>,
}

impl Pages for Difference<'_> {
    fn begin(&mut self, captured: &Captured) -> Result<bool, Fault> {
        if captured.mark == self.before.mark {
            return Ok(false);
        }
        self.out = Some(objects::begin_ltx(self.to, captured, self.before.mark + 1)?);
        Ok(true)
    }

    fn page(&mut self, number: u32, bytes: &[u8]) -> Result<(), Fault> {
        let print = print(bytes);
        let same = self.before.prints.get(self.prints.len()) == Some(&print);
        self.prints.push(print);
        match &mut self.out {
            Some(out) if !same => {
                out.page(number, bytes).map_err(|error| Fault::new("write an LTX file", error))
            }
            _ => Ok(()),
        }
    }
}

fn print(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// The vault as it must be, if it is not so.
fn vault(
    store: &Store,
    lineage: uuid::Uuid,
    recovery: &RecoveryKey,
    known: Option<&Vault>,
    lines: &BTreeMap<FileId, String>,
    from: Generation,
) -> Result<Option<Vault>, Fault> {
    let former = known.and_then(|vault| vault.open(recovery));
    let mut files = BTreeMap::new();
    for file in store.list() {
        // Another history's cluster may have wrapped them under a key of its own (`former.rs`).
        let mut before = match known.and_then(|vault| vault.files.get(&file)).zip(former.as_ref()) {
            Some((known, former)) => moved_lines(file, known, former, store.keyring())?,
            None => String::new(),
        };
        before += lines.get(&file).map_or("", String::as_str);
        if let Some(lines) = store.key_lines(file, &before)? {
            files.insert(file, lines);
        }
    }
    let mut wanted: BTreeSet<Generation> = store.keyring().generations().into_keys().collect();
    let kept = known.map(|vault| vault.generations.iter().copied().filter(|generation| *generation >= from));
    wanted.extend(kept.into_iter().flatten());
    if known.is_some_and(|vault| vault.files == files && vault.generations.iter().eq(&wanted)) {
        return Ok(None);
    }
    Vault::seal(lineage, store.keyring(), recovery, files, (former.as_ref(), from)).map(Some)
}

/// Where an LTX file is made; what an earlier process left there goes.
fn scratch(store: &Store, target: &str, file: FileId) -> Result<PathBuf, String> {
    let folder = store.root().join("backup").join(target);
    fs::create_dir_all(&folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    Ok(folder.join(format!("{file}.ltx")))
}
