//! Backups under faults: targets that fail, kills, other leaders, other keys, damage.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::json;

use super::{
    SOON, STATUS, await_archived, await_images, begin, count, histories::LOOK, restore, revive, said, target,
    used, walk,
};
use crate::harness::{BINARY, Demo, Organization, Plant, World, await_condition, create_organization};

#[test]
fn a_target_that_is_down_holds_up_nobody_and_catches_up() {
    let place = tempfile::tempdir().unwrap();
    let (bucket, aside) = (place.path().join("bucket"), place.path().join("aside"));
    fs::create_dir(&bucket).unwrap();
    // A log that keeps next to nothing for its own sake.
    let short = [("THREATFLOW_LOG_KEEP_ENTRIES", "5"), ("THREATFLOW_CHECKPOINT_MS", "100")];
    let short = short.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut world = World::one_node_in(short, &[]);
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", &bucket).unwrap();
    await_images(&platform, "one", 1);
    // The folder goes, as a network file system does.
    fs::rename(&bucket, &aside).unwrap();
    (0..10).for_each(|_| assert!(count(&org) > 0));
    // What is not archived is still there after a restart.
    world.crash_and_restart();
    let index = (0..10).map(|_| count(&org)).max().unwrap();
    await_condition("the alarm", Duration::from_secs(60), || !target(&platform, "one")["failing"].is_null());
    let alarms = platform.get(STATUS).json["alarms"].to_string();
    assert!(alarms.contains("target one fails"), "{alarms}");
    assert!(!alarms.contains("not this cluster's"), "nobody else writes there: {alarms}");
    fs::rename(&aside, &bucket).unwrap();
    await_archived(&platform, "one", index);
    await_condition("the alarm to end", Duration::from_secs(60), || {
        target(&platform, "one")["failing"].is_null()
    });
    drop(world);
    assert_whole(&bucket, &key);
    let world = revive(&bucket, &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 20);
}

/// What `threatflow backup verify` says.
pub fn verify(bucket: &Path, key: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), key).unwrap();
    let from = ["--from", bucket.to_str().unwrap(), "--recovery-key-file", file.path().to_str().unwrap()];
    Command::new(BINARY).args(["backup", "verify"]).args(from).output().unwrap()
}

pub fn assert_whole(bucket: &Path, key: &str) {
    let verified = verify(bucket, key);
    assert!(verified.status.success(), "{}", said(&verified));
    let told = said(&verified);
    assert_eq!(told.matches("every moment from entry").count(), 1, "no gap: {told}");
}

#[test]
fn the_archive_has_no_gap_over_kills_and_restarts_of_the_uploader() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    for round in 0..8 {
        let index = (0..5).map(|_| count(&org)).max().unwrap();
        if round % 3 == 0 {
            await_archived(&platform, "one", index);
        }
        world.crash_and_restart();
    }
    let index = count(&org);
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    drop(world);
    assert_whole(bucket.path(), &key);
    let world = revive(bucket.path(), &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 41);
}

#[test]
fn another_leader_goes_on_with_the_archive() {
    let bucket = tempfile::tempdir().unwrap();
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    for _ in 0..2 {
        let counted = (0..5).map(|_| count(&org)).max();
        assert!(counted.is_some());
        let leader = demo.leader(&platform);
        demo.kill(leader);
        demo.await_all_ready();
    }
    let index = count(&org);
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    drop(demo);
    assert_whole(bucket.path(), &key);
    let world = revive(bucket.path(), &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 11);
}

#[test]
fn what_came_before_and_after_a_change_of_keys_comes_back() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let before = count(&org);
    await_images(&platform, "one", before);
    await_archived(&platform, "one", before);
    assert_eq!(platform.post(&org.path("/keys/rotate"), &json!({})).status, 200);
    let between = count(&org);
    await_images(&platform, "one", between);
    assert_eq!(platform.post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
    await_condition("the rotation to settle", Duration::from_secs(60), || {
        platform.get("/api/v2/cluster/keys").json["step"] == "settled"
    });
    let late = world.organization("late", "enterprise");
    let after = count(&org).max(count(&late));
    await_images(&platform, "one", after);
    await_archived(&platform, "one", after);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    assert_whole(bucket.path(), &key);
    for (index, counted) in [(after, 3), (between, 2), (before, 1)] {
        let world = revive(bucket.path(), &key, &["--lineage", &lineage, "--index", &index.to_string()]);
        let caller = world.anonymous();
        assert_eq!(used(&caller.with_token(org.admin.token()), &org), counted);
        // What was sealed under whichever keys, the file goes on being written to.
        let revived = Organization { admin: caller.with_token(org.admin.token()), ..org.clone() };
        count(&revived);
        if counted == 3 {
            assert_eq!(used(&caller.with_token(late.admin.token()), &late), 1);
        }
    }
}

#[test]
fn a_missing_or_damaged_object_is_named_and_its_neighbours_come_back() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let (bad, good) = (world.organization("bad", "enterprise"), world.organization("good", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let mut index = 0;
    for _ in 0..3 {
        index = count(&bad).max(count(&good));
        await_archived(&platform, "one", index);
    }
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    drop(world);
    assert_whole(bucket.path(), &key);
    let of = |id: &str, kind: &str| {
        let all = walk(bucket.path());
        let mut found: Vec<_> = all
            .into_iter()
            .filter(|path| path.to_str().unwrap().contains(id) && path.to_str().unwrap().ends_with(kind))
            .collect();
        found.sort();
        found
    };
    let snapshot = of(&bad.id, ".ltx").pop().unwrap();
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let told = said(&verify(bucket.path(), &key));
    let name = snapshot.file_name().unwrap().to_str().unwrap();
    assert!(told.contains(name) && told.contains(&bad.id), "{told}");
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let refused =
        restore(&["cluster"], bucket.path(), &key, &["--whole", "--data-dir", data.to_str().unwrap()]);
    assert!(said(&refused).contains(name), "{}", said(&refused));
    let to = place.path().join("good.db");
    let more = ["--to", to.to_str().unwrap()];
    let written = restore(&["organization", &good.id], bucket.path(), &key, &more);
    assert!(written.status.success(), "{}", said(&written));

    // A segment is gone: moments after it cannot be reached from before it.
    let segments = of("/log/", ".seg");
    assert!(segments.len() > 1, "{segments:?}");
    fs::remove_file(&segments[segments.len() / 2]).unwrap();
    let verified = verify(bucket.path(), &key);
    let told = said(&verified);
    assert_eq!(told.matches("every moment from entry").count(), 2, "{told}");
    assert!(!verified.status.success() && told.contains("are missing: moments between"), "{told}");
}

#[test]
fn a_restore_that_was_killed_goes_on_with_what_it_fetched() {
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let orgs: Vec<_> =
        ["a-one", "a-two", "a-three"].iter().map(|slug| world.organization(slug, "enterprise")).collect();
    let key = begin(&platform, "one", &bucket).unwrap();
    let index = orgs.iter().map(count).max().unwrap();
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    drop(world);
    // One image does not arrive: its place is a pipe that nobody writes to.
    let mut of_one: Vec<_> = walk(&bucket)
        .into_iter()
        .filter(|path| {
            let path = path.to_str().unwrap();
            path.contains(&orgs[1].id) && path.ends_with(".ltx")
        })
        .collect();
    of_one.sort();
    // The last epoch's snapshot.
    let stuck = of_one.pop();
    let (stuck, aside) = (stuck.unwrap(), place.path().join("aside"));
    fs::rename(&stuck, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&stuck).status().unwrap().success());
    let (data, file) = (place.path().join("data"), place.path().join("key"));
    fs::write(&file, &key).unwrap();
    let begun = || {
        let mut command = Command::new(BINARY);
        command.args(["restore", "cluster", "--from"]).arg(&bucket).arg("--recovery-key-file").arg(&file);
        command.arg("--whole").arg("--data-dir").arg(&data);
        command
    };
    let mut child = begun().spawn().unwrap();
    let whole = |folder: &str| {
        let found = fs::read_dir(data.join("store/restoring").join(folder)).into_iter().flatten();
        found.filter(|item| item.as_ref().unwrap().path().extension().is_some_and(|end| end == "db")).count()
    };
    await_condition("the others to be fetched", SOON, || whole("") + whole("tenants") == 3);
    child.kill().unwrap();
    child.wait().unwrap();
    // Nothing serves what is not whole.
    let refused = Command::new(BINARY).args(["serve", "--data-dir"]).arg(&data).output().unwrap();
    assert!(said(&refused).contains("a restore into this folder was cut short"), "{}", said(&refused));
    fs::remove_file(&stuck).unwrap();
    fs::rename(&aside, &stuck).unwrap();
    let done = begun().output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    // A file's chain is one object or two, and there are four files.
    let told = said(&done);
    assert!(["in 1 objects", "in 2 objects"].iter().any(|few| told.contains(few)), "{told}");
    let world = World::one_node_over(|folder| {
        fs::remove_dir(folder).unwrap();
        fs::rename(&data, folder).unwrap();
    });
    for org in &orgs {
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), org), 1);
    }
}

#[test]
fn a_bucket_that_was_emptied_is_told_and_filled_anew() {
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let plant = Plant::new();
    plant.set(&[LOOK]);
    let world = World::one_node_in(plant.environment(), &[]);
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", &bucket).unwrap();
    await_images(&platform, "one", count(&org));
    fs::rename(&bucket, place.path().join("aside")).unwrap();
    fs::create_dir(&bucket).unwrap();
    let told = || platform.get(STATUS).json["alarms"].to_string().contains("was emptied by somebody else");
    await_condition("the alarm", SOON, told);
    let index = count(&org);
    await_condition("it to be filled anew", Duration::from_secs(60), || bucket.join("HEAD").exists());
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    assert!(told(), "whoever looks now and then hears of it, too");
    drop(world);
    let world = revive(&bucket, &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 2);
}
