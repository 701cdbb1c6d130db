//! Restores of one organization while the cluster serves: the leader makes the file from the backup and hands it to every
//! member, then an entry puts it in the place of the present one, on all of them at the same point of its history.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    jobs::led_term,
    rebuild::{Far, Log, Rebuild},
    takeover,
};
use crate::{
    cluster::{Answer, Cluster, Ticket, Unanswered, View, caught},
    features::{
        backup::{
            self, EndRestore, Ended, RESTORE_REPORT, ReplaceContent, Restore, State, Target,
            formats::Image,
            open_target,
            restore::{self, History, Plan, Source, put_replacement},
        },
        identity,
    },
    kernel::{OrgId, RequestId},
    store::{Replacement, Store},
};

/// How often a node looks whether an organization is to be restored.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Replacements stay this long after the last restore is over: an entry that names one may still be on its way.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// Failures to hand a file to one member before it is given up; each attempt goes on where the one before was cut short.
const FAILURES_MAX: u32 = 20;
/// What must stay free beside what a restore takes.
const ROOM_MIN: u64 = 256 << 20;
const HAND_AGAIN: Duration = Duration::from_secs(1);
/// How long the next member may take to hold a file: while they are no majority, and afterwards.
const HANDED_WITHIN: Duration = Duration::from_mins(30);
const LATE_WITHIN: Duration = Duration::from_secs(10);

/// What one node does for restores.
pub(super) struct Restores {
    cluster: Cluster,
    /// The system file stood here when nothing was wanted.
    idle_at: Option<u64>,
    idle_since: Instant,
}

impl Restores {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, idle_at: None, idle_since: Instant::now() }
    }

    /// For as long as the node lives.
    pub(super) async fn run(mut self) -> Infallible {
        // What an earlier process was at.
        let _ = fs::remove_dir_all(self.scratch());
        loop {
            sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                tracing::debug!(?error, "restores are looked at later");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Unanswered> {
        let mark = self.cluster.store().mark(OrgId::SYSTEM);
        if self.idle_at == Some(mark) {
            return self.clean_up().await;
        }
        let Some(restore) = self.wanted(&View::Local).await? else {
            self.idle_at = Some(mark);
            return self.clean_up().await;
        };
        (self.idle_at, self.idle_since) = (None, Instant::now());
        // What a restore of everything has not brought yet comes first.
        if led_term(&self.cluster).is_none() || self.cluster.store().arrived().is_some() {
            return Ok(());
        }
        // Another leader may have done it, and not have come to say so.
        if !self.is_over(&restore).await? {
            let done = self.bring_back(&restore).await;
            self.cluster.report(RESTORE_REPORT, Value::Null);
            done?;
        }
        Ok(())
    }

    async fn wanted(&self, view: &View) -> Result<Option<Restore>, Unanswered> {
        let wanted = self.cluster.read(view, OrgId::SYSTEM, backup::wanted_restores).await?;
        Ok(wanted.unwrap_or_default().into_iter().next())
    }

    async fn clean_up(&mut self) -> Result<(), Unanswered> {
        if self.idle_since.elapsed() > KEPT_FOR {
            self.idle_since = Instant::now();
            let _ = self.cluster.on_files(Store::drop_replacements).await;
        }
        Ok(())
    }

    fn scratch(&self) -> PathBuf {
        self.cluster.store().root().join("backup").join("restore")
    }

    /// What fails before the entry is proposed has changed nothing, and ends the restore: unless another leads now, who is
    /// at it.
    async fn bring_back(&self, restore: &Restore) -> Result<(), Unanswered> {
        let (term, scratch) = (led_term(&self.cluster), self.scratch());
        // What is read there may be wrong in ways that nobody thought of: the next leader would meet the same.
        let made =
            caught("a restore of an organization", self.make(restore, &scratch)).await.and_then(|made| made);
        let _ = fs::remove_dir_all(&scratch);
        let wanted = !self.is_over(restore).await?;
        if term.is_none() || led_term(&self.cluster) != term || !wanted {
            return Ok(());
        }
        let command = match made {
            Ok(command) => command,
            Err(why) => return self.fail(restore, why).await,
        };
        tracing::info!(organization.id = %restore.into, index = command.index, "an organization is put back");
        // The same request whoever leads: were it applied already, it would not be again.
        let ticket = Ticket::system(RequestId(restore.id));
        match self.cluster.propose(&ticket, restore.into, &command).await {
            Ok(Answer { index, reply, .. }) => {
                tracing::info!(organization.id = %restore.into, entry.index = index, "an organization is back");
                self.cluster.await_delivery(restore.into, reply, OrgId::SYSTEM).await.map(drop)
            }
            Err(Unanswered::Refused { refusal, .. }) => {
                self.fail(restore, format!("it was refused: {}", refusal.code())).await
            }
            // It may yet be applied: the next look finds that it was, or asks again.
            Err(other) => Err(other),
        }
    }

    /// Whether it is over once everything that its organization has to say was heard.
    async fn is_over(&self, restore: &Restore) -> Result<bool, Unanswered> {
        self.cluster.deliver_all(restore.into).await?;
        Ok(self.wanted(&View::Strong).await?.is_none_or(|wanted| wanted.id != restore.id))
    }

    async fn fail(&self, restore: &Restore, why: String) -> Result<(), Unanswered> {
        tracing::error!(organization.id = %restore.into, why, "an organization could not be restored");
        let ticket = Ticket::system(RequestId(restore.id)).step("failed");
        let ended = EndRestore { id: restore.id, outcome: Ended::Failed { why } };
        self.cluster.propose(&ticket, OrgId::SYSTEM, &ended).await.map(drop)
    }

    /// Makes the file, and has every member that can be reached hold it.
    async fn make(&self, restore: &Restore, scratch: &Path) -> Result<ReplaceContent, String> {
        let _ = fs::remove_dir_all(scratch);
        self.say(restore, "fetching", Far::default());
        let (state, targets) = self.read().await?;
        let target = targets.iter().find(|target| target.name == restore.target);
        let target = target.ok_or_else(|| format!("there is no target {} any more", restore.target))?;
        let keyring = self.cluster.store().keyring();
        let bucket = Arc::new(open_target(keyring, target)?);
        let recovery = backup::recovery_key(keyring, &state.recovery).map_err(|fault| fault.to_string())?;
        let history = History::Of(state.lineage, state.restored.map(|(before, _)| before));
        let (opened, plan) = restore::find(&bucket, history, &recovery, restore.until).await?;
        let (lineage, vault, keyring) = (opened.lineage, opened.vault, Arc::new(opened.keyring));
        let source = Source::of(&bucket, lineage, &keyring);
        self.require_room(&plan, restore.organization)?;
        let only = BTreeSet::from([restore.organization]);
        let progress = |far| self.say(restore, "fetching", far);
        let work = Rebuild {
            source: &source,
            keys: &vault.files,
            log: Log::Archive,
            keyring: Arc::clone(&keyring),
            plan: &plan,
            only: Some(&only),
            root: scratch,
            progress: &progress,
        };
        let rebuilt = work.run().await?;
        if !rebuilt.files.contains_key(&restore.organization) {
            return Err(format!(
                "organization {} was not there at that moment, or was erased since",
                restore.organization
            ));
        }
        self.say(restore, "handing out", Far::default());
        let (replacement, seen) = self.prepare(restore, scratch, keyring).await?;
        for target in &targets {
            self.put(&state, target, &replacement, scratch, restore).await?;
        }
        self.hand_out(&replacement).await?;
        if restore.into != restore.organization {
            self.require_unchanged(restore.organization, seen).await?;
        }
        let Plan { index, moment, .. } = plan;
        let organization = restore.organization;
        Ok(ReplaceContent { restore: restore.id, replacement, organization, lineage, index, moment })
    }

    async fn read(&self) -> Result<(State, Vec<Target>), String> {
        let look = |tx: &rusqlite::Connection| Ok((backup::state(tx)?, backup::targets(tx)?));
        let read = self.cluster.read(&View::Strong, OrgId::SYSTEM, look).await;
        match read.map_err(|error| format!("read what is backed up: {error:?}"))? {
            Some((Some(state), targets)) => Ok((state, targets)),
            _ => Err("nothing is backed up".to_owned()),
        }
    }

    /// The file in scratch, what is made of it, and how it is put into a bucket: each as large as the file.
    fn require_room(&self, plan: &Plan, file: OrgId) -> Result<(), String> {
        let bytes = plan.catalogue.files.get(&file).map_or(0, Image::bytes);
        let room = self.cluster.store().room().map_err(|fault| fault.to_string())?;
        if room.free > bytes.saturating_mul(5).saturating_add(ROOM_MIN) {
            return Ok(());
        }
        Err(format!("there is no room on the leader's disk for five times its {} MiB", bytes >> 20))
    }

    /// Who was deleted from the organization whose content it is, or that it was erased, since the file was made.
    async fn require_unchanged(&self, from: OrgId, seen: i64) -> Result<(), String> {
        if seen == 0 {
            return Ok(());
        }
        let look = move |tx: &rusqlite::Connection| identity::deletes(tx, seen);
        let lost = self.cluster.read(&View::Strong, from, look).await;
        match lost.map_err(|error| format!("read what became of it meanwhile: {error:?}"))? {
            Some(false) => Ok(()),
            Some(true) => Err("people were deleted from it meanwhile: ask again".to_owned()),
            None => Err("it was erased meanwhile".to_owned()),
        }
    }

    /// Makes what is to take the place of the file out of the one in scratch; and up to which event it was looked at who was
    /// deleted since.
    async fn prepare(
        &self,
        restore: &Restore,
        scratch: &Path,
        keyring: Arc<crate::store::Keyring>,
    ) -> Result<(Replacement, i64), String> {
        let (store, scratch) = (Arc::clone(self.cluster.store()), scratch.to_owned());
        let both = (restore.organization, restore.into);
        let made = spawn_blocking(move || {
            let other = Store::open(&scratch, keyring)?;
            let prepare = |restored: &_, present: &_, left: Option<&_>| {
                takeover::prepare(restored, present, left, store.keyring(), both)
            };
            store.make_replacement(Uuid::now_v7(), both.1, (&other, both.0), prepare)
        });
        made.await.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())
    }

    /// Whoever restores from a target applies the entry, too, and needs the file. From where it came it must be there.
    async fn put(
        &self,
        state: &State,
        target: &Target,
        replacement: &Replacement,
        scratch: &Path,
        restore: &Restore,
    ) -> Result<(), String> {
        let store = self.cluster.store();
        let put = match open_target(store.keyring(), target) {
            Ok(bucket) => put_replacement(&bucket, state.lineage, store, replacement, scratch).await,
            Err(why) => Err(why),
        };
        match put {
            Err(why) if target.name == restore.target => Err(why),
            Err(why) => {
                tracing::error!(
                    target = target.name,
                    why,
                    "a restored file could not be put there: moments from now to the next images cannot be restored from \
                     this target"
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// A majority of the voters holds it, and every other member that can be given it without a long wait. One that does
    /// not is repaired afterwards.
    async fn hand_out(&self, replacement: &Replacement) -> Result<(), String> {
        let status = self.cluster.replica().status();
        let voters = status.members.iter().filter(|member| member.voter).count();
        let others = status.members.iter().filter(|member| member.node != status.node);
        let mut handing: FuturesUnordered<_> = others
            .map(|member| async move { (member, self.hand_to(member.node, replacement).await) })
            .collect();
        let (mut holding, mut missing) = (1, Vec::new());
        loop {
            let majority = holding * 2 > voters;
            let within = if majority { LATE_WITHIN } else { HANDED_WITHIN };
            match timeout(within, handing.next()).await {
                Ok(Some((member, Ok(())))) => holding += usize::from(member.voter),
                Ok(Some((member, Err(why)))) => missing.push(format!("node {}: {why}", member.node)),
                Ok(None) | Err(_) if majority => return Ok(()),
                Ok(None) | Err(_) => {
                    let missing = missing.join("; ");
                    return Err(format!("a majority could not be given the file; {missing}"));
                }
            }
        }
    }

    async fn hand_to(&self, node: u64, replacement: &Replacement) -> Result<(), String> {
        let mut failures = 0;
        loop {
            match self.cluster.hand_out(node, replacement).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(why) => {
                    tracing::warn!(node, why, "a member does not hold a restored file yet");
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        return Err(why);
                    }
                }
            }
            sleep(HAND_AGAIN).await;
        }
    }

    fn say(&self, restore: &Restore, step: &str, far: Far) {
        let said = json!({
            "id": restore.id, "step": step, "files": far.files, "bytes": far.bytes, "index": far.index,
        });
        self.cluster.report(RESTORE_REPORT, said);
    }
}
