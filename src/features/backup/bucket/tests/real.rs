//! A real server, for a person to run against: `BUCKET` holds settings and `BUCKET_CREDENTIALS` credentials, as JSON.
//! `cargo test --lib a_real_server -- --ignored`.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{Bucket, Created, Replaced, Settings};
use crate::{
    features::backup::ltx::{Encoder, Header, Layout, LtxName},
    kernel::Millis,
};

fn from_environment<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = std::env::var(name).unwrap_or_else(|_| panic!("{name} holds JSON"));
    serde_json::from_str(&text).unwrap()
}

fn opened() -> Bucket {
    let settings: Settings = from_environment("BUCKET");
    let credentials = from_environment("BUCKET_CREDENTIALS");
    settings.validate(Some(&credentials)).unwrap();
    Bucket::open(&settings, Some(&credentials)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a server"]
async fn a_real_server_does_what_every_verb_needs() {
    let bucket = Arc::new(opened());
    bucket.probe().await.unwrap_or_else(|failed| panic!("{failed}"));

    // One of 64 creates it.
    let racers = (0..64u8).map(|racer| {
        let bucket = bucket.clone();
        tokio::spawn(async move { bucket.create("race", vec![racer; 1000].into(), None).await.unwrap() })
    });
    let mut created = 0;
    for racer in racers.collect::<Vec<_>>() {
        created += usize::from(racer.await.unwrap() == Created::Created);
    }
    assert_eq!(created, 1);

    // One of 16 rewrites a version.
    let old = bucket.get("race").await.unwrap().unwrap().version;
    let racers = (0..16u8).map(|racer| {
        let (bucket, old) = (bucket.clone(), old.clone());
        tokio::spawn(async move { bucket.replace("race", vec![racer].into(), &old).await.unwrap() })
    });
    let mut replaced = 0;
    for racer in racers.collect::<Vec<_>>() {
        replaced += usize::from(racer.await.unwrap() != Replaced::Stale);
    }
    assert_eq!(replaced, 1);

    // More keys than a page of a listing holds, and parts of objects.
    for number in 0..1100 {
        bucket.create(&format!("many/{number:04}"), Bytes::from_static(b"0123456789"), None).await.unwrap();
    }
    let keys: Vec<_> = bucket.list("many/", Some("many/0009")).all().await.unwrap();
    let keys: Vec<_> = keys.into_iter().map(|entry| entry.key).collect();
    assert_eq!((keys.len(), keys[0].as_str(), keys[1089].as_str()), (1090, "many/0010", "many/1099"));
    assert_eq!(bucket.get_range("many/0001", 3..6).await.unwrap().unwrap(), "345");
    assert_eq!(bucket.get_range("many/0001", 8..90).await.unwrap().unwrap(), "89");
    assert_eq!(bucket.get("many/none").await.unwrap(), None);

    // A file in parts, once.
    let folder = tempfile::tempdir().unwrap();
    let (source, back) = (folder.path().join("source"), folder.path().join("back"));
    let bytes: Vec<u8> = (0..20u32 << 20).map(|n| (n % 251) as u8).collect();
    std::fs::write(&source, &bytes).unwrap();
    assert_eq!(bucket.put_file("large", &source, Some(Millis(0))).await.unwrap(), Created::Created);
    assert_eq!(bucket.get_to_file("large", &back).await.unwrap(), Some(20 << 20));
    assert!(std::fs::read(&back).unwrap() == bytes);
    std::fs::write(&source, &bytes[1..]).unwrap();
    assert_eq!(bucket.put_file("large", &source, None).await.unwrap(), Created::AlreadyThere);
    assert_eq!(bucket.get_to_file("large", &back).await.unwrap(), Some(20 << 20));

    let keys = async || -> Vec<String> {
        let all = bucket.list("", None).all().await.unwrap().into_iter().map(|entry| entry.key);
        all.filter(|key| !key.starts_with("tenant/")).collect()
    };
    let all = keys().await;
    assert_eq!(all.len(), 1102);
    bucket.delete(&all).await.unwrap();
    assert!(keys().await.is_empty());
}

/// Leaves a chain under `tenant/` for litestream to restore: three transactions, an hour between them.
#[tokio::test]
#[ignore = "needs a server, and leaves a chain there for another program"]
async fn a_real_server_keeps_a_chain_for_litestream() {
    let bucket = opened();
    for (level, min, max) in [(9u8, 1u64, 7u64), (0, 8, 8), (0, 9, 12)] {
        let at_ms = 1_700_000_000_000 + max.cast_signed() * 3_600_000;
        let header = Header { page_size: 512, commit: 2, min_txid: min, max_txid: max, at_ms };
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        for page in 1..=2 {
            encoder.page(page, &[max as u8; 512]).unwrap();
        }
        let (bytes, _) = encoder.finish().unwrap();
        let key = format!("tenant/{}", LtxName { level, min, max }.key(Layout::Bucket));
        let created = bucket.create(&key, bytes.into(), Some(Millis(at_ms))).await.unwrap();
        assert_eq!(created, Created::Created);
    }
}
