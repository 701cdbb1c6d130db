//! Compaction: what lies loose in a chain becomes one file of the next level, so that a restore fetches few.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::super::{
    bucket::Bucket,
    ltx::{self, Header, Limits, LtxName},
    objects,
};
use crate::kernel::Millis;

/// Files of one level that become one of the next.
const LOOSE_MAX: usize = 32;
/// Levels that are compacted: a chain that goes on for a day at an image a second has 3 files of the highest.
const LEVELS: usize = 3;

/// The files of a chain that no file of a higher level holds, by level.
#[derive(Clone, Debug, Default)]
pub(super) struct Loose([Vec<LtxName>; LEVELS]);

impl Loose {
    /// A file was put. Those of the highest level, and snapshots, stay as they are.
    pub(super) fn add(&mut self, name: LtxName) {
        if let Some(level) = self.0.get_mut(usize::from(name.level)) {
            level.push(name);
        }
    }

    /// The files of the lowest level that are many enough.
    fn due(&self) -> Option<(usize, &[LtxName])> {
        let full = self.0.iter().enumerate().find(|(_, names)| names.len() >= loose_max())?;
        Some((full.0, full.1.as_slice()))
    }
}

/// How many lie loose at most; fewer when a test cannot wait for so many.
fn loose_max() -> usize {
    if raft::planted("compact soon") { 3 } else { LOOSE_MAX }
}

/// Makes one file of many, as long as there are many, in the chain at `chain`; answers the bytes of each.
pub(super) async fn compact(
    bucket: &Bucket,
    chain: &str,
    loose: &mut Loose,
    scratch: &Path,
) -> Result<Vec<u64>, String> {
    let mut put = Vec::new();
    while let Some((level, names)) = loose.due() {
        let names = names.to_vec();
        let parts = fetch(bucket, chain, &names, scratch).await?;
        let to = scratch.with_extension("whole");
        let (out, from) = (to.clone(), parts.clone());
        let merged = spawn_blocking(move || merge(&from, &out)).await;
        for part in parts {
            let _ = fs::remove_file(part);
        }
        let (header, bytes) = merged.map_err(|error| error.to_string())??;
        let next = u8::try_from(level + 1).unwrap_or(u8::MAX);
        let name = LtxName { level: next, min: header.min_txid, max: header.max_txid };
        let key = format!("{chain}/{}", name.key(objects::layout(bucket)));
        put.push(bytes);
        objects::put_file_once(bucket, &key, &to, &to.with_extension("there"), Millis(header.at_ms)).await?;
        let _ = fs::remove_file(&to);
        if let Some(done) = loose.0.get_mut(level) {
            done.clear();
        }
        loose.add(name);
    }
    Ok(put)
}

async fn fetch(
    bucket: &Bucket,
    chain: &str,
    names: &[LtxName],
    scratch: &Path,
) -> Result<Vec<PathBuf>, String> {
    let mut parts = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let key = format!("{chain}/{}", name.key(objects::layout(bucket)));
        let part = scratch.with_extension(format!("part{place}"));
        let found = bucket.get_to_file(&key, &part).await.map_err(objects::told)?;
        found.ok_or_else(|| format!("{key} is gone"))?;
        parts.push(part);
    }
    Ok(parts)
}

fn merge(parts: &[PathBuf], to: &Path) -> Result<(Header, u64), String> {
    let failed = |error: std::io::Error| format!("compact into {}: {error}", to.display());
    let open = |part: &PathBuf| File::open(part).map(BufReader::new);
    let inputs = parts.iter().map(open).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let out = BufWriter::new(File::create(to).map_err(failed)?);
    let (out, header, bytes) =
        ltx::compact(inputs, Limits::default(), out).map_err(|error| error.to_string())?;
    out.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((header, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::super::{
            bucket::{FolderSettings, Pace, Settings},
            ltx::{Encoder, Layout},
        },
        *,
    };

    /// One changed page.
    fn file(max: u64) -> (LtxName, Vec<u8>) {
        let header = Header { page_size: 512, commit: 2, min_txid: max, max_txid: max, at_ms: 5 };
        let mut out = Encoder::new(Vec::new(), header).unwrap();
        let fill = u8::try_from(max).unwrap();
        (1..=if max == 1 { 2 } else { 1 }).for_each(|page| out.page(page, &[fill; 512]).unwrap());
        (LtxName { level: 0, min: max, max }, out.finish().unwrap().0)
    }

    #[tokio::test]
    async fn many_files_become_one_that_makes_the_same_database() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("bucket");
        fs::create_dir(&path).unwrap();
        let settings = Settings::Folder(FolderSettings { path: path.clone(), pace: Pace::default() });
        let bucket = Bucket::open(&settings, None).unwrap();
        let mut loose = Loose::default();
        for max in 1..=40 {
            let (name, bytes) = file(max);
            let key = format!("chain/{}", name.key(Layout::Folder));
            objects::put_once(&bucket, &key, bytes.into(), None).await.unwrap();
            loose.add(name);
            let put = compact(&bucket, "chain", &mut loose, &place.path().join("x")).await.unwrap();
            assert_eq!(put.len(), usize::from(max == 32));
        }
        let names = objects::list(&bucket, "chain/", None).await.unwrap();
        let names: Vec<LtxName> = names
            .iter()
            .filter_map(|object| LtxName::parse(Layout::Folder, object.key.strip_prefix("chain/")?))
            .collect();
        let chosen = ltx::plan(&names, Some(40)).unwrap();
        assert_eq!(
            (chosen.len(), chosen.first().map(|name| (name.level, name.min, name.max))),
            (9, Some((1, 1, 32)))
        );
        let parts: Vec<PathBuf> =
            chosen.iter().map(|name| path.join("chain").join(name.key(Layout::Folder))).collect();
        let to = File::create_new(place.path().join("db")).unwrap();
        ltx::restore(&parts, Limits::default(), &to).unwrap();
        assert_eq!(fs::read(place.path().join("db")).unwrap(), [[40_u8; 512], [1; 512]].concat());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn the_lowest_level_that_is_full_is_due_and_snapshots_never_are() {
        let name = |level, max| LtxName { level, min: max, max };
        let mut loose = Loose::default();
        (1..=31).for_each(|max| loose.add(name(0, max)));
        (1..=40).for_each(|max| loose.add(name(ltx::SNAPSHOT_LEVEL, max)));
        assert!(loose.due().is_none());
        loose.add(name(0, 32));
        (1..=32).for_each(|max| loose.add(name(1, max)));
        assert!(loose.due().is_some_and(|(level, names)| level == 0 && names.len() == 32));
    }
}
