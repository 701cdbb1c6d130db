//! What is missing in a backup is told by whoever meets it: a restore, a drill, the status.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;

use super::{
    SOON, STATUS, await_archived, await_images, begin, count, faults::verify, kept::await_whole, restore,
    revive, said, used, walk,
};
use crate::harness::{Caller, World, await_condition};

fn sorted(bucket: &std::path::Path, folder: &str) -> Vec<PathBuf> {
    let all = walk(bucket).into_iter().filter(|path| path.to_str().unwrap().contains(folder));
    let mut all: Vec<PathBuf> = all.collect();
    all.sort();
    all
}

/// No more images from now on: what comes is in the archive alone.
fn archive_alone(platform: &Caller) {
    let images = || super::target(platform, "one")["images_at"].clone();
    let before = images();
    let set = platform.json("PATCH", &format!("{STATUS}/policy"), &json!({ "image_seconds": 3600 }));
    assert_eq!(set.status, 200, "{}", set.body);
    // One is made when the new policy begins.
    await_condition("the last images", SOON, || images() != before);
}

#[test]
fn what_is_missing_behind_the_newest_images_fails_a_restore_and_a_drill_and_is_an_alarm() {
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", &bucket).unwrap();
    await_whole(&platform, &org);
    archive_alone(&platform);
    let drill = || {
        let drills = || platform.get(&format!("{STATUS}/drills")).json["drills"].as_array().unwrap().clone();
        let before = drills().len();
        assert_eq!(platform.post(&format!("{STATUS}/drills"), &json!({})).status, 202);
        await_condition("a drill", Duration::from_secs(60), || drills().len() > before);
        drills().remove(0)
    };
    let reach = count(&org);
    await_archived(&platform, "one", reach);
    let sound = drill();
    assert_eq!(sound["passed"], true, "{sound}");
    // How far it was behind when the drill began: a second or two, and never nothing known.
    assert!(sound["drill"]["rpo_ms"].as_i64().is_some_and(|ms| (0..30_000).contains(&ms)), "{sound}");
    assert!(sound["drill"]["rto_ms"].as_i64().is_some_and(|ms| ms > 0), "{sound}");
    let before = sorted(&bucket, "/log/");
    await_archived(&platform, "one", count(&org));
    let lost: Vec<PathBuf> =
        sorted(&bucket, "/log/").into_iter().filter(|path| !before.contains(path)).collect();
    for path in &lost {
        fs::remove_file(path).unwrap();
    }
    let failed = drill();
    assert_eq!(failed["passed"], false, "{failed}");
    let why = failed["drill"]["failed"].as_str().unwrap();
    // What asked for the drill may be archived behind what is gone, or not yet.
    let told = ["are missing in the archive", "although everything up to"];
    assert!(told.iter().any(|told| why.contains(told)), "{failed}");
    let alarms = platform.get(STATUS).json["alarms"].to_string();
    assert!(alarms.contains("the last drill of target one FAILED at"), "{alarms}");

    // More comes behind the gap: a restore does not stop before it and call that the newest moment.
    let last = count(&org);
    await_archived(&platform, "one", last);
    drop(world);
    let data = place.path().join("data");
    let refused = restore(&["cluster"], &bucket, &key, &["--data-dir", data.to_str().unwrap()]);
    let told = said(&refused);
    assert!(!refused.status.success() && told.contains("are missing in the archive"), "{told}");
    let told = told.split("with --index ").nth(1).unwrap_or_else(|| panic!("{told}"));
    let index: String = told.chars().take_while(char::is_ascii_digit).collect();
    assert!(index.parse::<u64>().unwrap() >= reach, "{told}");
    let world = revive(&bucket, &key, &["--index", &index]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 2);
}

#[test]
fn a_damaged_catalogue_is_named_and_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let mut world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", &bucket).unwrap();
    let mut moments = Vec::new();
    for counted in 1..6 {
        moments.push((await_whole(&platform, &org), counted));
    }
    world.crash();
    let spoil = |path: &PathBuf| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let catalogues = sorted(&bucket, "/catalog/");
    let (newest, middle) = (catalogues.last().unwrap(), &catalogues[catalogues.len() / 2]);
    spoil(newest);
    spoil(middle);
    let verified = verify(&bucket, &key);
    let told = said(&verified);
    assert_eq!(verified.status.code(), Some(1));
    for path in [newest, middle] {
        assert!(told.contains(path.file_name().unwrap().to_str().unwrap()), "{told}");
    }
    // The next uploader goes on, with what is whole.
    world.restart();
    let last = count(&org);
    await_images(&platform, "one", last);
    await_archived(&platform, "one", last);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    moments.push((last, 6));
    // Every moment comes back: the archive leads there from the images before.
    for (index, counted) in moments.into_iter().skip(1) {
        let world = revive(&bucket, &key, &["--lineage", &lineage, "--index", &index.to_string()]);
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted);
    }
}

#[test]
fn a_newest_segment_that_is_torn_is_named_and_stops_neither_archive_nor_images() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_whole(&platform, &org);
    await_archived(&platform, "one", count(&org));
    world.crash();
    let torn = sorted(bucket.path(), "/log/").pop().unwrap();
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    world.restart();
    await_whole(&platform, &org);
    let verified = verify(bucket.path(), &key);
    let told = said(&verified);
    let name = torn.file_name().unwrap().to_str().unwrap();
    assert!(!verified.status.success() && told.contains(name), "{told}");
    drop(world);
    // From the images behind it.
    let world = revive(bucket.path(), &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 3);
}
