//! What is older than every moment that can still be restored goes, unless somebody holds it.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::time::sleep;

use super::{
    super::{
        formats::Catalogue,
        lineage,
        ltx::{LtxName, SNAPSHOT_LEVEL},
        model::{HEAD, Names},
        objects, queries,
        restore::{Base, Source, is_before},
    },
    former::{Former, is_silent},
    uploader::{Line, Part},
};
use crate::{
    cluster::View,
    kernel::{DAY_MS, FileId, Millis, OrgId},
    web::now,
};

/// How often the bucket is asked whether it still is what it was.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Looks from one sweep to the next.
const SWEEP_EVERY: u32 = 60;
/// A cluster that has put nothing for so long does not live: it says something every ten minutes.
const ABANDONED: Duration = Duration::from_mins(15);
/// Objects removed from one look for a hold to the next.
const REMOVED_AT_ONCE: usize = 500;

/// Looks and sweeps for ever: what fails is tried again at the next look.
pub(super) async fn run(line: Line) -> Result<Infallible, String> {
    let (mut looks, mut former) = (0, Former::default());
    loop {
        // Not at once: a leader that has just begun has better things to do.
        let asked = next_look().await;
        looks += 1;
        match round(&line, &mut former, looks, asked).await {
            Ok(()) => line.works(Part::Retention, |_| {}),
            Err(why) => line.failed(Part::Retention, why),
        }
    }
}

async fn round(line: &Line, former: &mut Former, looks: u32, asked: Option<Millis>) -> Result<(), String> {
    look(line).await?;
    line.require_own().await?;
    // A hold keeps what may be kept: what was erased goes all the same. Sweeps do not wait for it.
    let forgotten = former.forget(line, asked.is_some() || looks.is_multiple_of(SWEEP_EVERY)).await;
    let before = match asked {
        Some(before) => Some(before),
        None if looks.is_multiple_of(SWEEP_EVERY) => kept_from(line).await?,
        None => None,
    };
    if let Some(before) = before {
        let gone =
            if line.policy.legal_hold { None } else { remove(line, sweep(line, before).await?).await? };
        match gone {
            None => tracing::info!(target = %line.target, "nothing is removed from a backup: legal hold"),
            Some(removed) => {
                tracing::info!(target = %line.target, removed, %before, "a backup was swept: what is too old is gone");
            }
        }
    }
    forgotten?;
    require_lead(line).await
}

/// The first moment that is kept; `None` when nothing can go. A day behind the catalogue that follows the oldest, at most: a
/// clock that is wrong for an hour must not cost everything.
async fn kept_from(line: &Line) -> Result<Option<Millis>, String> {
    let source = Source::of(&line.bucket, line.lineage.id, line.cluster.store().keyring());
    let Some(next) = source.second_readable().await? else { return Ok(None) };
    let kept = now().plus(-i64::from(line.policy.retention_days) * DAY_MS);
    Ok(Some(kept.min(next.newest.plus(DAY_MS))))
}

#[cfg(not(debug_assertions))]
async fn next_look() -> Option<Millis> {
    sleep(LOOK_EVERY).await;
    None
}

/// A test does not wait, and says what is too old.
#[cfg(debug_assertions)]
async fn next_look() -> Option<Millis> {
    const GLANCE: Duration = Duration::from_millis(250);
    for _ in 0..LOOK_EVERY.as_millis() / GLANCE.as_millis() {
        sleep(GLANCE).await;
        let asked = raft::planted_with("sweep what is older than ");
        if let Some(before) = asked.and_then(|ms| ms.parse().ok()) {
            return Some(Millis(before));
        }
    }
    None
}

/// A bucket that was emptied, by hand or by a rule of its own, is filled anew, and its operator hears of it.
async fn look(line: &Line) -> Result<(), String> {
    if line.lineage.is_there(&line.bucket).await? || !line.begin_lineage().await? {
        return Ok(());
    }
    Err("everything that was put is gone: the bucket was emptied, and is being filled anew".to_owned())
}

/// Who restores without naming a history gets the one that leads. When that is another one, whose cluster lives, our operator
/// hears of it; from one that lives no more the lead is taken, unless ours was restored from it: it may have gone on since.
async fn require_lead(line: &Line) -> Result<(), String> {
    let Line { bucket, lineage, .. } = line;
    if !line.can_be_restored() {
        return Ok(());
    }
    let Some(Ok(head)) = lineage::look(bucket, HEAD).await? else { return lineage.lead(bucket).await };
    if head.id == lineage.id {
        return Ok(());
    }
    let heir = lineage::descends(bucket, *lineage, head.id).await?;
    let silent = is_silent(bucket, head.id, ABANDONED).await?;
    match (silent, heir) {
        (true, false) => lineage.lead(bucket).await,
        (true, true) => Err(format!(
            "the history {} leads, from which this one was restored, and nobody writes it any more: hand the leadership \
             over (`threatflow cluster transfer`; a lone node: restart it) to make {} lead",
            head.id, lineage.id
        )),
        (false, _) => Err(format!(
            "another cluster writes here: its history {} leads, and who restores without naming {} gets that one; stop \
             it, or give one of the two another place",
            head.id, lineage.id
        )),
    }
}

/// Removes objects, as long as nobody says that nothing goes; answers how many went, and nothing when somebody does.
async fn remove(line: &Line, gone: Vec<String>) -> Result<Option<usize>, String> {
    for some in gone.chunks(REMOVED_AT_ONCE) {
        // A hold that was acknowledged before is seen: this uploader may be of before it.
        let policy = line.cluster.read(&View::Strong, OrgId::SYSTEM, queries::state).await;
        let policy =
            policy.map_err(|reason| format!("whether there is a legal hold is not known: {reason:?}"))?;
        if policy.flatten().is_none_or(|state| state.policy.legal_hold) {
            return Ok(None);
        }
        line.bucket.delete(some).await.map_err(objects::told)?;
    }
    Ok(Some(gone.len()))
}

/// What no restore to `before` or later needs.
async fn sweep(line: &Line, before: Millis) -> Result<Vec<String>, String> {
    let Line { bucket, names, lineage, cluster, .. } = line;
    let source = Source::of(bucket, lineage.id, cluster.store().keyring());
    let Some(Base { catalogue: base, older, newer }) = source.base(before).await? else {
        return Ok(Vec::new());
    };
    let newest = source.newest_readable().await?.ok_or("the catalogues are gone")?;
    let mut gone: Vec<String> = older.into_iter().map(|(cut, epoch)| names.catalogue(cut, epoch)).collect();
    for object in objects::list(bucket, &names.segments(), None).await? {
        match names.parse_segment(&object.key) {
            Some((_, last)) if last <= base.cut => gone.push(object.key),
            // In the order of their beginnings: those that follow are needed.
            Some((first, _)) if first > base.cut => break,
            _ => {}
        }
    }
    // One that was put after it by an uploader that did not know that it was deposed names images of before.
    let deposed = newer.iter().any(|(_, epoch)| *epoch < base.epoch);
    let mut chains: BTreeMap<(FileId, u32), Vec<(LtxName, String)>> = BTreeMap::new();
    let images = if deposed { Vec::new() } else { objects::list(bucket, &names.files(), None).await? };
    for object in images {
        if let Some((chain, name)) = objects::image_of(bucket, names, &object.key) {
            chains.entry(chain).or_default().push((name, object.key));
        }
    }
    for ((file, epoch), objects) in chains {
        gone.extend(unneeded(&base, &newest, file, epoch, objects));
    }
    for object in objects::list(bucket, &names.replacements(), None).await? {
        if names.parse_replacement(&object.key).is_some_and(|(_, id)| is_before(id, base.newest)) {
            gone.push(object.key);
        }
    }
    gone.extend(outlived(line, before).await?);
    Ok(gone)
}

/// The objects of the histories that this one, which began before `before`, took the place of: no moment since then lies in
/// them. One into which anything was put since then belongs to a cluster that lives, and stays.
async fn outlived(line: &Line, before: Millis) -> Result<Vec<String>, String> {
    let Line { bucket, lineage, .. } = line;
    // Another one leads: which of the two has the future is not for this one to say.
    if lineage::newest(bucket).await?.is_none_or(|head| head.id != lineage.id) {
        return Ok(Vec::new());
    }
    let mut gone = Vec::new();
    for id in lineage::family(bucket, lineage.id).await?.into_iter().filter(|id| *id != lineage.id) {
        let mut all = objects::list(bucket, &Names(id).all(), None).await?;
        if all.iter().all(|object| object.at < before) {
            // What says that it is there goes last: a sweep that is cut short is taken up again.
            all.sort_by_key(|object| object.key == Names(id).lineage());
            gone.extend(all.into_iter().map(|object| object.key));
        }
    }
    Ok(gone)
}

/// The objects of a chain that no restore to `base` or later takes.
fn unneeded(
    base: &Catalogue,
    newest: &Catalogue,
    file: FileId,
    epoch: u32,
    objects: Vec<(LtxName, String)>,
) -> Vec<String> {
    let last = objects.iter().map(|(name, _)| name.max).max().unwrap_or(0);
    let Some(image) = base.files.get(&file) else {
        // Created later, or destroyed before.
        let destroyed = !newest.files.contains_key(&file) && last <= base.cut;
        return if destroyed { objects.into_iter().map(|(_, key)| key).collect() } else { Vec::new() };
    };
    if epoch < image.epoch {
        return objects.into_iter().map(|(_, key)| key).collect();
    }
    if epoch > image.epoch {
        return Vec::new();
    }
    let snapshots = objects.iter().filter(|(name, _)| name.level >= SNAPSHOT_LEVEL && name.max <= image.mark);
    let Some(begin) = snapshots.map(|(name, _)| name.max).max() else { return Vec::new() };
    let old = |name: &LtxName| name.max < begin || (name.max == begin && name.level < SNAPSHOT_LEVEL);
    objects.into_iter().filter(|(name, _)| old(name)).map(|(_, key)| key).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        features::backup::{formats::Image, ltx::plan},
        store::Sum,
    };

    fn catalogue(cut: u64, files: &[(u128, u32, u64)]) -> Catalogue {
        let image = |(file, epoch, mark): &(u128, u32, u64)| {
            let image = Image {
                epoch: *epoch,
                mark: *mark,
                at: Millis(0),
                sum: Sum::default(),
                key: 1,
                pages: 1,
                page_bytes: 512,
            };
            (OrgId(Uuid::from_u128(*file)), image)
        };
        let files = files.iter().map(image).collect();
        Catalogue { lineage: Uuid::nil(), epoch: 9, cut, high: cut, newest: Millis(0), files }
    }

    fn objects(names: &[(u8, u64, u64)]) -> Vec<(LtxName, String)> {
        let object = |(level, min, max): &(u8, u64, u64)| {
            (LtxName { level: *level, min: *min, max: *max }, format!("{level} {min} {max}"))
        };
        names.iter().map(object).collect()
    }

    #[test]
    fn what_goes_is_what_no_moment_that_is_kept_needs() {
        let (base, newest) =
            (catalogue(50, &[(1, 2, 50), (2, 1, 8)]), catalogue(99, &[(1, 3, 90), (3, 3, 80)]));
        let gone = |file, epoch, names: &[(u8, u64, u64)]| {
            unneeded(&base, &newest, OrgId(Uuid::from_u128(file)), epoch, objects(names))
        };
        let chain = [
            (9, 1, 10),
            (0, 11, 20),
            (0, 21, 40),
            (9, 1, 40),
            (0, 41, 45),
            (1, 41, 50),
            (0, 46, 50),
            (0, 51, 60),
        ];
        assert_eq!(gone(1, 2, &chain), ["9 1 10", "0 11 20", "0 21 40"]);
        let kept: Vec<LtxName> = objects(&chain[3..]).into_iter().map(|(name, _)| name).collect();
        assert!([50, 60].iter().all(|mark| plan(&kept, Some(*mark)).is_ok()));
        // A chain of an earlier uploader, and one of a later.
        assert_eq!(gone(1, 1, &[(9, 1, 30)]), ["9 1 30"]);
        assert!(gone(1, 3, &[(9, 1, 90)]).is_empty());
        // Destroyed after the moment, before it, and created after it.
        assert!(gone(2, 1, &[(9, 1, 8)]).is_empty());
        assert_eq!(gone(4, 1, &[(9, 1, 8)]), ["9 1 8"]);
        assert!(gone(3, 3, &[(9, 1, 80)]).is_empty());
        assert!(gone(5, 1, &[(9, 1, 70)]).is_empty(), "not known to be destroyed before the moment");
    }
}
