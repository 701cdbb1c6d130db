//! What is older than every moment that can still be restored goes, unless somebody holds it.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::time::sleep;

use super::{
    super::{
        formats::Catalogue,
        ltx::{LtxName, SNAPSHOT_LEVEL},
        objects,
        restore::Source,
    },
    uploader::{Line, Part},
};
use crate::{
    kernel::{DAY_MS, FileId, Millis},
    web::now,
};

/// How often the bucket is asked whether it still is what it was.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Looks from one sweep to the next.
const SWEEP_EVERY: u32 = 60;

/// Looks and sweeps until something fails.
pub(super) async fn run(line: Line) -> Result<Infallible, String> {
    let mut looks = 0;
    loop {
        // Not at once: a leader that has just begun has better things to do.
        sleep(LOOK_EVERY).await;
        look(&line).await?;
        looks += 1;
        if looks % SWEEP_EVERY != 0 {
            continue;
        }
        let before = now().plus(-i64::from(line.policy.retention_days) * DAY_MS);
        if !line.policy.legal_hold {
            let removed = sweep(&line, before).await?;
            if removed > 0 {
                tracing::info!(target = %line.target, removed, "objects of a backup were too old and are gone");
            }
        }
        line.works(Part::Retention, |_| {});
    }
}

/// A bucket that was emptied, by hand or by a rule of its own, is filled anew, and its operator hears of it.
async fn look(line: &Line) -> Result<(), String> {
    if line.lineage.is_there(&line.bucket).await? {
        line.works(Part::Retention, |_| {});
        return Ok(());
    }
    line.empty();
    line.lineage.begin(&line.bucket).await?;
    Err("everything that was put is gone: the bucket was emptied, and is being filled anew".to_owned())
}

/// Removes what no restore to `before` or later needs; answers how many objects.
pub(in super::super) async fn sweep(line: &Line, before: Millis) -> Result<usize, String> {
    let Line { bucket, names, lineage, cluster, .. } = line;
    let source = Source::of(bucket, lineage.id, cluster.store().keyring());
    let Some((base, older)) = source.base(before).await? else { return Ok(0) };
    let newest = source.newest_catalogue().await?.ok_or("the catalogues are gone")?;
    let mut gone: Vec<String> = older.into_iter().map(|(cut, epoch)| names.catalogue(cut, epoch)).collect();
    for object in objects::list(bucket, &names.segments(), None).await? {
        match names.parse_segment(&object.key) {
            Some((_, last)) if last <= base.cut => gone.push(object.key),
            // In the order of their beginnings: those that follow are needed.
            Some((first, _)) if first > base.cut => break,
            _ => {}
        }
    }
    let mut chains: BTreeMap<(FileId, u32), Vec<(LtxName, String)>> = BTreeMap::new();
    for object in objects::list(bucket, &names.files(), None).await? {
        if let Some((chain, name)) = objects::image_of(bucket, names, &object.key) {
            chains.entry(chain).or_default().push((name, object.key));
        }
    }
    for ((file, epoch), objects) in chains {
        gone.extend(unneeded(&base, &newest, file, epoch, objects));
    }
    let count = gone.len();
    bucket.delete(&gone).await.map_err(objects::told)?;
    Ok(count)
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
        kernel::OrgId,
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
