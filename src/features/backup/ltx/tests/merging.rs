//! Many files: restored and compacted, against a database kept as a map.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{
    super::{Header, Layout, Limits, LtxError, LtxName, Restored, compact, plan, restore},
    Chance, file, header,
};

const SIZE: u32 = 512;

/// A database as it changes, and the files that say how.
#[derive(Default)]
struct Story {
    pages: BTreeMap<u32, Vec<u8>>,
    commit: u32,
    files: Vec<(Header, Vec<u8>)>,
}

impl Story {
    /// Transactions 1 to 5 as a snapshot, then as many files of a few transactions as asked for; the database grows and
    /// shrinks.
    fn new(chance: &mut Chance, files: usize) -> Self {
        let mut story = Self { commit: 20, ..Self::default() };
        for page in 1..=20 {
            story.pages.insert(page, chance.page(SIZE));
        }
        story.push(1, 5, &(1..=20).collect::<Vec<_>>());
        for _ in 0..files {
            let min = story.last() + 1;
            let max = min + chance.below(3);
            let commit = (story.commit + 6).saturating_sub(chance.below(12) as u32).max(2);
            let changed = (1..=commit).filter(|page| *page > story.commit || chance.below(4) == 0);
            let changed: Vec<_> = changed.collect();
            story.commit = commit;
            story.pages.retain(|page, _| *page <= commit);
            for page in &changed {
                story.pages.insert(*page, chance.page(SIZE));
            }
            story.push(min, max, &changed);
        }
        story
    }

    fn last(&self) -> u64 {
        self.files.last().map_or(0, |(header, _)| header.max_txid)
    }

    fn push(&mut self, min: u64, max: u64, changed: &[u32]) {
        let header = Header { at_ms: max.cast_signed(), ..header(SIZE, self.commit, min, max) };
        let pages: Vec<_> = changed.iter().map(|page| (*page, self.pages[page].clone())).collect();
        self.files.push((header, file(header, &pages)));
    }

    fn database(&self) -> Vec<u8> {
        self.pages.values().flatten().copied().collect()
    }

    fn write(&self, folder: &Path) -> Vec<PathBuf> {
        let path = |(place, (_, bytes)): (usize, &(Header, Vec<u8>))| {
            let path = folder.join(format!("{place:04}.ltx"));
            fs::write(&path, bytes).unwrap();
            path
        };
        self.files.iter().enumerate().map(path).collect()
    }
}

fn restored(files: &[PathBuf], folder: &Path) -> Result<(Restored, Vec<u8>), LtxError> {
    let path = folder.join("restored");
    let done = restore(files, Limits::default(), &File::create(&path).unwrap())?;
    Ok((done, fs::read(&path).unwrap()))
}

#[test]
fn a_chain_longer_than_is_merged_at_once_restores_to_the_database() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, files) in [(1, 0), (2, 1), (3, 30), (4, 150)] {
        let story = Story::new(&mut Chance(seed), files);
        let (done, database) = restored(&story.write(folder.path()), folder.path()).unwrap();
        assert!(database == story.database(), "seed {seed}");
        let last = story.last();
        let expected =
            Restored { page_size: SIZE, pages: story.commit, txid: last, at_ms: last.cast_signed() };
        assert_eq!(done, expected);
    }
}

#[test]
fn compacted_files_restore_to_the_same_database() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..12 {
        let story = Story::new(&mut Chance(seed), 24);
        let mut parts = Vec::new();
        for (place, group) in story.files.chunks(7).enumerate() {
            let inputs = group.iter().map(|(_, bytes)| bytes.as_slice()).collect();
            let (bytes, header, written) = compact(inputs, Limits::default(), Vec::new()).unwrap();
            assert_eq!(written, bytes.len() as u64);
            assert_eq!(header.max_txid, group.last().unwrap().0.max_txid);
            let path = folder.path().join(format!("c{place}"));
            fs::write(&path, bytes).unwrap();
            parts.push(path);
        }
        assert!(restored(&parts, folder.path()).unwrap().1 == story.database(), "seed {seed}");
        // Everything as one snapshot.
        let inputs = parts.iter().map(|path| File::open(path).unwrap()).collect();
        let (bytes, header, _) = compact(inputs, Limits::default(), Vec::new()).unwrap();
        assert!(header.is_snapshot());
        fs::write(&parts[0], bytes).unwrap();
        assert!(restored(&parts[..1], folder.path()).unwrap().1 == story.database(), "seed {seed}");
    }
}

#[test]
fn files_that_do_not_follow_each_other_make_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let story = Story::new(&mut Chance(9), 4);
    let mut files = story.write(folder.path());
    let error = |files: &[PathBuf]| restored(files, folder.path()).unwrap_err().to_string();
    assert!(error(&files[1..]).contains("the first file begins at transaction 6, not at 1"));
    assert!(error(&[]).contains("no files to merge"));
    files.remove(2);
    assert!(error(&files).contains("do not follow"), "{}", error(&files));
    files.swap(1, 2);
    assert!(error(&files).contains("do not follow"));
}

#[test]
fn a_page_that_no_file_holds_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let page = vec![1; 512];
    let snapshot = file(header(SIZE, 2, 1, 1), &[(1, page.clone()), (2, page.clone())]);
    let grown = file(header(SIZE, 4, 2, 2), &[(4, page)]);
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    fs::write(&paths[0], snapshot).unwrap();
    fs::write(&paths[1], grown).unwrap();
    let error = restored(&paths, folder.path()).unwrap_err().to_string();
    assert!(error.contains("page 3 of 4 is in no file"), "{error}");
}

#[test]
fn damage_in_any_input_fails_the_whole() {
    let story = Story::new(&mut Chance(5), 3);
    for damaged in 0..story.files.len() {
        let mut inputs: Vec<_> = story.files.iter().map(|(_, bytes)| bytes.clone()).collect();
        let last = inputs[damaged].len() - 1;
        inputs[damaged][last] ^= 1;
        let inputs = inputs.iter().map(Vec::as_slice).collect();
        let error = compact(inputs, Limits::default(), Vec::new()).map(|_| ()).expect_err("found");
        assert!(error.to_string().contains("checksum of the file"), "{error}");
    }
}

/// A chain for a person to restore with litestream itself: `LTX_CHAIN=<folder> cargo test -- --ignored`. Writes
/// `<folder>/chain/ltx/…` and the database that must come out, `<folder>/expected`.
#[test]
#[ignore = "writes a chain to a folder that LTX_CHAIN names, to be restored by another program"]
fn a_chain_for_another_program() {
    let folder = PathBuf::from(std::env::var_os("LTX_CHAIN").expect("LTX_CHAIN names a folder"));
    let story = Story::new(&mut Chance(11), 40);
    let mut names = Vec::new();
    for (header, bytes) in &story.files {
        let level = if header.is_snapshot() { 9 } else { 0 };
        let name = LtxName { level, min: header.min_txid, max: header.max_txid };
        let path = folder.join("chain").join(name.key(Layout::Folder));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        names.push(name);
    }
    assert_eq!(plan(&names, None).unwrap().len(), 41);
    fs::write(folder.join("expected"), story.database()).unwrap();
}
