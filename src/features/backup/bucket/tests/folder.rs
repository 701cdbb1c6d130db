//! A folder as a bucket.

use std::{fs, sync::Arc, time::UNIX_EPOCH};

use bytes::Bytes;

use super::{
    super::{Cause, Created, Replaced, folder::Folder},
    in_folder,
};
use crate::kernel::Millis;

const OURS: Bytes = Bytes::from_static(b"ours");

#[tokio::test]
async fn a_file_is_created_once_with_the_time_that_litestream_reads() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = in_folder(folder.path());
    let at = Some(Millis(1_700_000_000_123));
    assert_eq!(bucket.create("t/ltx/0/a.ltx", OURS, at).await.unwrap(), Created::Created);
    assert_eq!(bucket.create("t/ltx/0/a.ltx", "theirs".into(), at).await.unwrap(), Created::AlreadyThere);
    let path = folder.path().join("t/ltx/0/a.ltx");
    assert_eq!(fs::read(&path).unwrap(), b"ours");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(UNIX_EPOCH).unwrap().as_millis(), 1_700_000_000_123);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_create_a_file_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(in_folder(folder.path()));
    for round in 0..20 {
        let racers: Vec<_> = (0..8u8)
            .map(|racer| {
                let bucket = bucket.clone();
                let bytes = Bytes::from(vec![racer; 10_000]);
                tokio::spawn(async move { bucket.create(&format!("r/{round}"), bytes, None).await.unwrap() })
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, done) in racers.into_iter().enumerate() {
            if done.await.unwrap() == Created::Created {
                winners.push(racer as u8);
            }
        }
        let [winner] = winners[..] else { panic!("{winners:?}") };
        assert!(fs::read(folder.path().join(format!("r/{round}"))).unwrap() == vec![winner; 10_000]);
    }
    assert_eq!(fs::read_dir(folder.path().join(".unnamed")).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_rewrite_a_version_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Arc::new(in_folder(folder.path()));
    bucket.create("head", "first".into(), None).await.unwrap();
    let old = bucket.get("head").await.unwrap().unwrap().version;
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let (bucket, old) = (bucket.clone(), old.clone());
            tokio::spawn(
                async move { bucket.replace("head", format!("{racer}").into(), &old).await.unwrap() },
            )
        })
        .collect();
    let mut replaced = Vec::new();
    for racer in racers {
        if let Replaced::Replaced(version) = racer.await.unwrap() {
            replaced.push(version);
        }
    }
    assert_eq!(replaced, [bucket.get("head").await.unwrap().unwrap().version]);
    assert_eq!(bucket.replace("none", OURS, &old).await.unwrap(), Replaced::Stale);
}

#[tokio::test]
async fn files_are_listed_in_the_order_of_bytes_without_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = in_folder(folder.path());
    for key in ["a/2", "a/1", "a-b", "a/1.x/y", "b"] {
        bucket.create(key, OURS, None).await.unwrap();
    }
    let version = bucket.get("b").await.unwrap().unwrap().version;
    bucket.replace("b", "new".into(), &version).await.unwrap();
    let keys = async |prefix: &str, after: Option<&str>| -> Vec<String> {
        bucket.list(prefix, after).all().await.unwrap().into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(keys("", None).await, ["a-b", "a/1", "a/1.x/y", "a/2", "b"]);
    assert_eq!(keys("a/", Some("a/1")).await, ["a/1.x/y", "a/2"]);
    assert_eq!(keys("a/1.", None).await, ["a/1.x/y"]);
    assert!(keys("none/", None).await.is_empty());
}

#[tokio::test]
async fn files_are_read_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = in_folder(folder.path());
    bucket.create("a", "0123456789".into(), None).await.unwrap();
    assert_eq!(bucket.get_range("a", 3..6).await.unwrap().unwrap(), "345");
    assert_eq!(bucket.get_range("a", 8..90).await.unwrap().unwrap(), "89");
    assert_eq!(bucket.get_range("a", 10..12).await.unwrap().unwrap(), "");
    assert_eq!(bucket.get_range("b", 0..1).await.unwrap(), None);
    bucket.delete(&["a".to_owned(), "never".to_owned()]).await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn files_of_any_size_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = in_folder(folder.path());
    let (source, back) = (folder.path().join(".source"), folder.path().join(".back"));
    for length in [0, 1, 300_000] {
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        fs::write(&source, &bytes).unwrap();
        let key = format!("large/{length}");
        assert_eq!(bucket.put_file(&key, &source, Some(Millis(5000))).await.unwrap(), Created::Created);
        assert_eq!(bucket.put_file(&key, &source, None).await.unwrap(), Created::AlreadyThere);
        assert_eq!(bucket.get_to_file(&key, &back).await.unwrap(), Some(length));
        assert!(fs::read(&back).unwrap() == bytes);
    }
    let error = bucket.put_file("x", &folder.path().join("none"), None).await.unwrap_err().to_string();
    assert!(error.contains("none: No such file"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("not-mounted");
    let failed = in_folder(&missing).create("a", OURS, None).await.unwrap_err();
    assert_eq!((failed.cause, failed.retry), (Cause::NoSuchBucket, false));
    assert!(failed.to_string().contains("is it mounted?"), "{failed}");
    assert_eq!(in_folder(&missing).probe().await.unwrap_err().cause, Cause::NoSuchBucket);
    assert!(in_folder(&missing).list("", None).all().await.is_err());
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_probe_leaves_nothing_and_clears_what_the_dead_left() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = in_folder(folder.path());
    bucket.probe().await.unwrap();
    assert!(bucket.list("", None).all().await.unwrap().is_empty());
    let unnamed = folder.path().join(".unnamed");
    fs::write(unnamed.join("left"), "x").unwrap();
    let of = Folder::new(folder.path());
    let day = |days: i64| crate::web::now().plus(days * crate::kernel::DAY_MS);
    of.sweep(day(0)).unwrap();
    assert!(unnamed.join("left").exists(), "a writer may still be at work");
    of.sweep(day(2)).unwrap();
    assert!(!unnamed.join("left").exists());
}
