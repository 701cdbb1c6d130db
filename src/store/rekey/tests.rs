#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::{
    kernel::Millis,
    store::{
        Keyring, LEVEL, Mark, SealedEntry, digest,
        snapshot::{self, Install},
    },
};

const FILE: FileId = OrgId(uuid::Uuid::from_u128(7));

fn open_store(root: &Path) -> Store {
    Store::open(root, Arc::new(Keyring::from_raw(vec![1; 32]).unwrap())).unwrap()
}

fn step(store: &Store, index: u64) {
    let key = store.keyring().mint(FILE).unwrap();
    let write = |store: &Store, writers: &mut Writers| {
        let writer = writers.begin(store, FILE, Some((index, &key)))?.unwrap();
        writer.raise(FILE, LEVEL)?;
        writer.connection().execute("INSERT INTO spine_outbox VALUES (?1, 1, 'x')", [index.to_string()])?;
        writer.advance(index, Millis(1));
        writers.commit(store)
    };
    store.write(FILE, write).unwrap();
}

fn rekey(store: &Store, index: u64, number: u32) {
    let key = store.keyring().mint(FILE).unwrap();
    store.take_next_key(FILE, index, number, &key).unwrap();
}

fn sum(store: &Store) -> (u64, String) {
    store.read(FILE, digest).unwrap().unwrap()
}

#[test]
fn a_file_is_encrypted_anew_with_its_rows_unchanged_and_the_old_key_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let store = open_store(place.path());
    step(&store, 1);
    let before = sum(&store);
    let old = store.keys(FILE).unwrap();
    let earlier = store.seal_entry(FILE, None, b"earlier").unwrap().unwrap();
    rekey(&store, 2, 2);
    rekey(&store, 2, 2); // the same entry again, after a crash
    assert_eq!(store.rekeying().len(), 1);
    store.reencrypt(FILE).unwrap();
    assert_eq!(sum(&store), before);
    assert!(store.rekeying().is_empty());
    assert!(
        sqlite::open(&store.path(FILE), old.raw().unwrap(), Access::Read)
            .and_then(|open| {
                open.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            })
            .is_err()
    );
    assert!(store.open_entry(&SealedEntry::parse(&earlier).unwrap(), 1).unwrap().is_none());
    step(&store, 3);
    store.checkpoint().unwrap();
    drop(store);
    assert_eq!(sum(&open_store(place.path())).0, 3);
}

#[test]
fn entries_count_under_the_key_that_was_newest_at_their_index_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let store = open_store(place.path());
    step(&store, 1);
    let first = store.seal_entry(FILE, None, b"x").unwrap().unwrap();
    rekey(&store, 5, 2);
    let second = store.seal_entry(FILE, None, b"x").unwrap().unwrap();
    let fits =
        |bytes: &[u8], index| store.open_entry(&SealedEntry::parse(bytes).unwrap(), index).unwrap().is_some();
    assert!(fits(&first, 4) && fits(&first, 5), "the entry that brings a key is under the one before");
    assert!(!fits(&first, 6) && fits(&second, 6) && !fits(&second, 5));
}

#[test]
fn a_start_tells_under_which_key_the_pages_are_wherever_the_last_one_was_cut_short() {
    for replaced in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let store = open_store(place.path());
        step(&store, 1);
        rekey(&store, 2, 2);
        let before = sum(&store);
        store.copy_anew(FILE).unwrap();
        store
            .write(FILE, |_, writers| {
                writers.close(FILE);
                Ok(())
            })
            .unwrap();
        let path = store.path(FILE);
        drop(store);
        if replaced {
            for extension in ["db-wal", "db-shm"] {
                remove_if_present(&path.with_extension(extension)).unwrap();
            }
            fs::rename(path.with_extension("anew"), &path).unwrap();
        }
        let store = open_store(place.path());
        assert_eq!(sum(&store), before);
        assert_eq!(store.rekeying().is_empty(), replaced);
        for file in store.rekeying() {
            store.reencrypt(file).unwrap();
        }
        assert_eq!(sum(&store), before);
        assert!(!path.with_extension("anew").exists() && !path.with_extension("rekey").exists());
    }
}

#[test]
fn a_copy_on_its_way_to_a_peer_shows_nothing_and_opens_under_the_file_s_key() {
    let place = tempfile::tempdir().unwrap();
    let store = open_store(place.path());
    let marker = "mk7f3aq9".repeat(600);
    step(&store, 1);
    let write = |store: &Store, writers: &mut Writers| {
        let writer = writers.begin(store, FILE, None)?.unwrap();
        writer.connection().execute("INSERT INTO spine_outbox VALUES ('m', 1, ?1)", [&marker])?;
        writer.advance(2, Millis(1));
        writers.commit(store)
    };
    store.write(FILE, write).unwrap();
    let copy = place.path().join("copy");
    assert_eq!(store.export(FILE, &copy).unwrap().unwrap().mark, 2);
    let bytes = fs::read(&copy).unwrap();
    assert!(bytes.len() > marker.len() && !bytes.windows(8).any(|window| window == b"mk7f3aq9"));
    let opened = open::for_read(&copy, store.keys(FILE).unwrap().raw().unwrap()).unwrap();
    let found: String =
        opened.query_row("SELECT proposal FROM spine_outbox WHERE id = 'm'", [], |row| row.get(0)).unwrap();
    assert_eq!(found, marker);
}

#[test]
fn a_busy_file_is_encrypted_anew_too() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open_store(place.path()));
    step(&store, 1);
    rekey(&store, 2, 2);
    let writing = std::thread::spawn({
        let store = Arc::clone(&store);
        move || (3..200).for_each(|index| step(&store, index))
    });
    store.reencrypt(FILE).unwrap();
    writing.join().unwrap();
    assert!(store.rekeying().is_empty());
    assert_eq!(sum(&store).0, 199);
}

/// A copy of the file as a snapshot brings it, in a folder of its own.
fn shipped(from: &Store) -> (tempfile::TempDir, Mark) {
    let staged = tempfile::tempdir().unwrap();
    fs::create_dir(staged.path().join("tenants")).unwrap();
    let path = staged.path().join(format!("tenants/{FILE}.db"));
    let mark = from.export(FILE, &path).unwrap().unwrap();
    (staged, mark)
}

fn number_of_keys(store: &Store) -> usize {
    store.key_text(FILE).unwrap().unwrap().lines().filter(|line| line.starts_with("key ")).count()
}

#[test]
fn a_file_that_comes_with_two_keys_is_encrypted_anew_here_too() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let leader = open_store(there.path());
    step(&leader, 1);
    rekey(&leader, 2, 2);
    for crashed in ["no", "before it was taken", "after"] {
        let (staged, mark) = shipped(&leader);
        let mut store = open_store(here.path());
        if crashed == "before it was taken" {
            let (take, marks) = (vec![mark.clone()], vec![(FILE, mark.mark)]);
            let (staged, remove) = (staged.path().to_owned(), Vec::new());
            snapshot::note(here.path(), &Install { staged, take, remove, marks, sending: Vec::new() })
                .unwrap();
        } else {
            store.install(staged.path(), &[], std::slice::from_ref(&mark)).unwrap();
            assert_eq!(store.rekeying(), BTreeSet::from([FILE]), "known at once");
        }
        if crashed != "no" {
            drop(store);
            store = open_store(here.path());
        }
        assert_eq!(store.rekeying(), BTreeSet::from([FILE]), "{crashed}");
        assert_eq!(number_of_keys(&store), 2);
        store.reencrypt(FILE).unwrap();
        assert_eq!((number_of_keys(&store), sum(&store)), (1, sum(&leader)));
        assert!(store.rekeying().is_empty() && marked(here.path()).unwrap().is_empty());
    }
}

#[test]
fn a_file_that_comes_under_its_new_key_leaves_nothing_to_do() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let leader = open_store(there.path());
    step(&leader, 1);
    rekey(&leader, 2, 2);
    let store = open_store(here.path());
    let (staged, mark) = shipped(&leader);
    store.install(staged.path(), &[], &[mark]).unwrap();
    store.copy_anew(FILE).unwrap();
    leader.reencrypt(FILE).unwrap();
    step(&leader, 3);
    let (staged, mark) = shipped(&leader);
    store.install(staged.path(), &[], &[mark]).unwrap();
    assert!(store.rekeying().is_empty() && marked(here.path()).unwrap().is_empty());
    assert!(!store.path(FILE).with_extension("anew").exists());
    assert_eq!(sum(&store), sum(&leader));
}

#[test]
fn a_file_that_a_snapshot_takes_away_in_the_middle_of_a_rotation_does_not_keep_the_node_from_starting() {
    let place = tempfile::tempdir().unwrap();
    let store = open_store(place.path());
    step(&store, 1);
    rekey(&store, 2, 2);
    store.copy_anew(FILE).unwrap();
    store.install(tempfile::tempdir().unwrap().path(), &[], &[]).unwrap();
    assert!(store.rekeying().is_empty());
    assert_eq!(fs::read_dir(place.path().join("tenants")).unwrap().count(), 0, "something stays");
    drop(store);
    assert!(open_store(place.path()).list().is_empty());
}
