//! Drills: the leader restores a sample of organizations into scratch, reads every row back, computes every audit trail
//! anew, compares both with what is live, and records what it found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    jobs::led_term,
    rebuild::{Log, Rebuild, Rebuilt},
};
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View, caught},
    features::{
        audit::{self, Trail},
        backup::{
            self, RecordDrill, State, Target,
            formats::{Drill, Proven, Tested},
            jobs::{DRILLS, REPORT},
            open_target,
            restore::{self, History, Plan, Source, Until},
        },
    },
    kernel::{Fault, FileId, Millis, OrgId, RequestId, to_hex},
    store::{Keyring, Standing, Store, Sum},
    web::now,
};

/// How often the leader looks whether a drill is due.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
const HOUR_MS: i64 = 3_600_000;

/// Makes a drill if one is due or was asked for.
pub(super) async fn look(cluster: Cluster) {
    if led_term(&cluster).is_none() || cluster.store().arrived().is_some() {
        cluster.report(DRILLS, Value::Null);
        return;
    }
    let due = match due(&cluster).await {
        Ok(due) => due,
        Err(error) => {
            tracing::debug!(?error, "drills are looked at later");
            return;
        }
    };
    let Some((state, target)) = due else { return };
    let drill = make(&cluster, &state, &target).await;
    if drill.passed() {
        tracing::info!(
            target = drill.target,
            rto_ms = drill.rto_ms,
            files = drill.files.len(),
            "a restore was tried and is right"
        );
    } else {
        tracing::error!(target = drill.target, drill = ?drill, "a restore was tried and FAILED");
    }
    let ticket = Ticket::system(RequestId(drill.id));
    if let Err(error) = cluster.propose(&ticket, OrgId::SYSTEM, &RecordDrill { drill }).await {
        tracing::warn!(?error, "a drill could not be recorded");
    }
}

/// The target whose turn it is.
async fn due(cluster: &Cluster) -> Result<Option<(State, Target)>, Unanswered> {
    let look = |tx: &rusqlite::Connection| {
        Ok((backup::state(tx)?, backup::targets(tx)?, backup::last_drills(tx)?, backup::drills(tx, 1)?))
    };
    let Some((Some(state), targets, (passed, last), drills)) =
        cluster.read(&View::Local, OrgId::SYSTEM, look).await?
    else {
        return Ok(None);
    };
    cluster.report(DRILLS, json!(passed));
    let every = i64::from(state.policy.drill_hours) * HOUR_MS;
    let late = every > 0 && last.is_none_or(|last| now().0 - last.0 >= every);
    if state.drill_wanted.is_none() && !late {
        return Ok(None);
    }
    // Nothing to restore yet: the first drill waits for the first catalogue.
    let ready: Vec<Target> = targets.into_iter().filter(|target| target.progress.cut_at.is_some()).collect();
    let before = drills.first().map(|(_, drill)| drill.target.clone()).unwrap_or_default();
    let next = ready.iter().find(|target| target.name > before).or(ready.first()).cloned();
    Ok(next.map(|target| (state, target)))
}

async fn make(cluster: &Cluster, state: &State, target: &Target) -> Drill {
    let began = Instant::now();
    let mut drill = Drill {
        id: Uuid::now_v7(),
        target: target.name.clone(),
        lineage: state.lineage,
        index: 0,
        rpo_ms: behind(cluster, target),
        rto_ms: 0,
        bytes: 0,
        files: BTreeMap::new(),
        failed: None,
    };
    let scratch = cluster.store().root().join("backup").join("drill");
    let _ = fs::remove_dir_all(&scratch);
    // What is in the bucket may be anything; a drill that halts this node would halt the next leader as well.
    let tried = caught("a restore for a drill", try_out(cluster, state, target, &scratch)).await;
    match tried.unwrap_or_else(|panic| Err(format!("the restore panicked, which is a bug: {panic}"))) {
        Ok(Tried { plan, rebuilt, trails }) => {
            drill.index = plan.index;
            drill.bytes = rebuilt.fetched.bytes;
            drill.files = compared(cluster.store(), &rebuilt);
            for (file, tested) in &mut drill.files {
                audited(cluster, *file, trails.get(file), tested).await;
            }
        }
        Err(why) => drill.failed = Some(why),
    }
    let _ = fs::remove_dir_all(&scratch);
    drill.rto_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    drill
}

/// What was restored.
struct Tried {
    plan: Plan,
    rebuilt: Rebuilt,
    trails: Trails,
}

/// The audit trail of each file; or the first event that does not fit.
type Trails = BTreeMap<FileId, Result<Trail, i64>>;

async fn try_out(cluster: &Cluster, state: &State, target: &Target, scratch: &Path) -> Result<Tried, String> {
    let said = archived(cluster, target);
    let bucket = Arc::new(open_target(cluster.store().keyring(), target)?);
    // As an operator would who has nothing but the recovery key.
    let recovery = backup::recovery_key(cluster.store().keyring(), &state.recovery)
        .map_err(|fault| fault.to_string())?;
    let (opened, plan) =
        restore::find(&bucket, History::Only(state.lineage), &recovery, Until::Newest).await?;
    if plan.index < said {
        return Err(format!(
            "the newest moment that can be restored is entry {}, although everything up to {said} was archived",
            plan.index
        ));
    }
    let keyring: Arc<Keyring> = Arc::new(opened.keyring);
    let source = Source::of(&bucket, opened.lineage, &keyring);
    let only = sample(cluster.store(), &plan, state.policy.drill_sample)?;
    let work = Rebuild {
        source: &source,
        keys: &opened.vault.files,
        keyring: Arc::clone(&keyring),
        plan: &plan,
        only: Some(&only),
        log: Log::Archive,
        root: scratch,
        progress: &|_| {},
    };
    let rebuilt = work.run().await?;
    if let Some(missing) = only.iter().find(|file| !rebuilt.files.contains_key(file)) {
        return Err(format!("file {missing} could not be restored: its keys are not in the vault"));
    }
    let (root, files) = (scratch.to_owned(), rebuilt.files.keys().copied().collect());
    let read = spawn_blocking(move || trails(&root, keyring, files)).await;
    let trails = read.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?;
    Ok(Tried { plan, rebuilt, trails })
}

/// Computes the audit trails anew, each from its first event on.
fn trails(root: &Path, keyring: Arc<Keyring>, files: Vec<FileId>) -> Result<Trails, Fault> {
    let store = Store::open(root, keyring)?;
    let mut found = Trails::new();
    for file in files {
        if let Some(trail) = store.read(file, audit::verify_chain)? {
            found.insert(file, trail);
        }
    }
    Ok(found)
}

/// Looks at the trail of a restored file, beside the live one.
async fn audited(cluster: &Cluster, file: FileId, trail: Option<&Result<Trail, i64>>, tested: &mut Tested) {
    let events = trail.and_then(|trail| trail.as_ref().ok()).map_or(0, |trail| trail.events);
    let live = cluster.read(&View::Local, file, move |tx| audit::chain_at(tx, events)).await;
    let live = match live {
        Ok(Some(Some(head))) => Live::Head(head),
        Ok(Some(None)) => Live::Shorter,
        Ok(None) | Err(_) => Live::Away,
    };
    let (proven, wrong) = judged(trail, live);
    tested.trail = proven;
    tested.wrong = tested.wrong.take().or(wrong);
}

/// The live trail after as many events as were restored.
#[derive(Clone, Copy, Debug)]
enum Live {
    Head([u8; 32]),
    Shorter,
    /// The file went meanwhile, or is not to be read here: there is nothing to compare with.
    Away,
}

/// A trail only grows: what was restored must hold together, and be what the live one begins with.
fn judged(trail: Option<&Result<Trail, i64>>, live: Live) -> (Option<Proven>, Option<String>) {
    match trail {
        None => (None, Some("it has no audit trail".to_owned())),
        Some(Err(seq)) => (None, Some(format!("its audit trail does not hold together at event {seq}"))),
        Some(Ok(Trail { events, head })) => {
            let same = match live {
                Live::Head(live) => live == *head,
                Live::Shorter => *events == 0,
                Live::Away => true,
            };
            let wrong = (!same).then(|| format!("after event {events} the live audit trail is another"));
            (Some(Proven { events: *events, head: to_hex(head) }), wrong)
        }
    }
}

/// The system file and some organizations, drawn by chance among those that live.
fn sample(store: &Store, plan: &Plan, count: u32) -> Result<BTreeSet<FileId>, String> {
    let mut known: Vec<FileId> = plan
        .catalogue
        .files
        .keys()
        .copied()
        .filter(|file| !file.is_system() && store.exists(*file))
        .collect();
    let mut drawn = BTreeSet::from([OrgId::SYSTEM]);
    for _ in 0..count {
        if known.is_empty() {
            break;
        }
        let chance = store.keyring().draw::<8>().map_err(|fault| fault.to_string())?;
        let at = u64::from_be_bytes(chance) % (known.len() as u64);
        drawn.insert(known.swap_remove(usize::try_from(at).unwrap_or_default()));
    }
    Ok(drawn)
}

/// What this node's uploader says of how far it is.
fn reported(cluster: &Cluster, target: &Target, what: &str) -> Option<Value> {
    cluster.reported(REPORT).get(&target.name)?.get("progress")?.get(what).cloned()
}

/// The last entry of which the uploader says that it is archived.
fn archived(cluster: &Cluster, target: &Target) -> u64 {
    let said = reported(cluster, target, "archived").and_then(|said| said.as_u64());
    said.unwrap_or(target.progress.archived)
}

/// How long ago the newest moment is that can be restored: the drill fails when what was archived up to then is not there.
fn behind(cluster: &Cluster, target: &Target) -> i64 {
    let said = reported(cluster, target, "archived_at").and_then(|said| said.as_i64());
    let at = said.map(Millis).or(target.progress.archived_at);
    at.map_or(i64::MAX, |at| (now().0 - at.0).max(0))
}

/// Each restored file beside the live one, where both are known to have stood at the same entry.
fn compared(store: &Store, rebuilt: &Rebuilt) -> BTreeMap<FileId, Tested> {
    let tested = |(file, (mark, sum)): (&FileId, &(u64, Sum))| {
        let live = store
            .stood(*file, *mark)
            .or_else(|| store.standing(*file).ok().flatten().filter(|standing| standing.mark == *mark));
        (*file, beside(live, *mark, *sum))
    };
    rebuilt.files.iter().map(tested).collect()
}

/// A restored file beside how the live one stood at the same entry, if that is known.
fn beside(live: Option<Standing>, mark: u64, sum: Sum) -> Tested {
    let other = live.is_some_and(|live| live.sum != sum);
    let wrong = other.then(|| format!("at entry {mark} the live file holds other rows"));
    Tested { mark, sum, wrong, compared_at: live.map(|_| now()), trail: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_those_of_the_live_file_fail_the_drill() {
        let other: Sum = serde_json::from_value(json!("07".repeat(16))).unwrap();
        let of = |live: Option<Sum>| beside(live.map(|sum| Standing { mark: 4, sum }), 4, Sum::default());
        assert!(of(None).wrong.is_none() && of(None).compared_at.is_none());
        assert!(of(Some(Sum::default())).wrong.is_none() && of(Some(Sum::default())).compared_at.is_some());
        assert_eq!(of(Some(other)).wrong.as_deref(), Some("at entry 4 the live file holds other rows"));
    }

    #[test]
    fn a_trail_that_breaks_or_is_not_what_the_live_one_begins_with_fails_the_drill() {
        let trail = |events, head| Ok(Trail { events, head: [head; 32] });
        let another = Some("after event 9 the live audit trail is another");
        for (restored, live, proven, wrong) in [
            (Some(trail(9, 1)), Live::Head([1; 32]), Some(9), None),
            (Some(trail(9, 1)), Live::Away, Some(9), None),
            (Some(trail(0, 0)), Live::Shorter, Some(0), None),
            (Some(trail(9, 1)), Live::Head([2; 32]), Some(9), another),
            (Some(trail(9, 1)), Live::Shorter, Some(9), another),
            (Some(Err(4)), Live::Shorter, None, Some("its audit trail does not hold together at event 4")),
            (None, Live::Away, None, Some("it has no audit trail")),
        ] {
            let (found, why) = judged(restored.as_ref(), live);
            assert_eq!(
                (found.map(|found| found.events), why.as_deref()),
                (proven, wrong),
                "{restored:?} {live:?}"
            );
        }
    }
}
