//! What is kept and what goes: retention, legal holds, histories from before a restore, keys that are retired.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{
    SOON, STATUS, await_archived, await_images, begin, count, faults::assert_whole, now_ms, restore, revive,
    said, stamp, used, walk,
};
use crate::harness::{Caller, Organization, Plant, World, await_condition};

/// The objects below a folder of some lineage.
fn objects(bucket: &Path, folder: &str) -> BTreeSet<PathBuf> {
    walk(bucket).into_iter().filter(|path| path.to_str().unwrap().contains(folder)).collect()
}

fn catalogues(bucket: &Path) -> BTreeSet<PathBuf> {
    objects(bucket, "/catalog/")
}

/// Waits for further sweeps.
pub fn await_swept(world: &World, more: usize) {
    await_told(world, "a backup was swept", more);
}

fn await_told(world: &World, what: &str, more: usize) {
    let before = world.said().matches(what).count();
    await_condition(what, SOON, || world.said().matches(what).count() >= before + more);
}

/// Everything that was acknowledged is in the target; the last entry of it.
pub fn await_whole(platform: &Caller, org: &Organization) -> u64 {
    // What was before the archive began is in images alone.
    await_images(platform, "one", 1);
    let index = count(org);
    await_images(platform, "one", index);
    await_archived(platform, "one", index);
    index
}

fn sweep_before(ms: i64) -> String {
    format!("sweep what is older than {ms}")
}

#[test]
fn nothing_goes_while_a_legal_hold_is_on_and_what_is_too_old_goes_when_it_is_off() {
    let (plant, bucket) = (Plant::new(), tempfile::tempdir().unwrap());
    let world = World::one_node_in(plant.environment(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    for _ in 0..3 {
        await_whole(&platform, &org);
    }
    let hold = |on: bool| {
        let set = platform.json("PATCH", &format!("{STATUS}/policy"), &json!({ "legal_hold": on }));
        assert_eq!(set.status, 200, "{}", set.body);
    };
    hold(true);
    let held: BTreeSet<PathBuf> = walk(bucket.path()).into_iter().collect();
    plant.set(&[&sweep_before(now_ms())]);
    await_told(&world, "nothing is removed from a backup: legal hold", 3);
    let there: BTreeSet<PathBuf> = walk(bucket.path()).into_iter().collect();
    assert!(held.is_subset(&there), "{:?}", held.difference(&there));
    hold(false);
    await_swept(&world, 1);
    let gone = |folder: &str| {
        !held.iter().filter(|path| path.to_str().unwrap().contains(folder)).all(|path| path.exists())
    };
    for folder in ["/catalog/", "/log/"] {
        assert!(gone(folder), "nothing of {folder} went");
    }
    await_whole(&platform, &org);
    assert_whole(bucket.path(), &key);
}

/// What had been counted, up to which entry, and when that was over.
struct Moment {
    index: u64,
    ms: i64,
    counted: i64,
}

#[test]
fn what_is_too_old_goes_and_every_later_moment_comes_back() {
    let (plant, place) = (Plant::new(), tempfile::tempdir().unwrap());
    let bucket = place.path();
    plant.set(&["compact soon"]);
    let mut world = World::one_node_in(plant.environment(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let gone = world.organization("gone", "enterprise");
    let key = begin(&platform, "one", bucket).unwrap();
    count(&gone);
    let mut moments: Vec<Moment> = Vec::new();
    for round in 0..8 {
        let index = await_whole(&platform, &org);
        moments.push(Moment { index, ms: now_ms(), counted: round + 1 });
        match round {
            0 => {
                let erase = format!("/api/v2/organizations/{}/erase", gone.id);
                assert!(platform.post(&erase, &json!({ "slug": "gone" })).status < 300);
            }
            // Another uploader, with chains of its own.
            2 | 5 => world.crash_and_restart(),
            _ => {}
        }
    }
    let first_epoch = |path: &&PathBuf| path.to_str().unwrap().contains("/00000001/");
    let (chains, logs) = (objects(bucket, &format!("/files/{}/", org.id)), objects(bucket, "/log/"));
    assert!(chains.iter().any(|path| first_epoch(&path)) && !objects(bucket, &gone.id).is_empty());
    let (kept, too_old) = (&moments[4..], &moments[2]);
    let before = catalogues(bucket);
    plant.set(&["compact soon", &sweep_before(kept[0].ms)]);
    await_swept(&world, 1);
    plant.set(&["compact soon"]);
    let chains = objects(bucket, &format!("/files/{}/", org.id));
    assert!(!chains.is_empty() && !chains.iter().any(|path| first_epoch(&path)), "{chains:?}");
    assert!(logs.iter().next().is_some_and(|first| !first.exists()), "the oldest segment is there");
    assert!(before.iter().next().is_some_and(|first| !first.exists()), "the oldest catalogue is there");
    assert!(
        walk(bucket).iter().all(|path| !path.to_str().unwrap().contains(&format!("/files/{}/", gone.id)))
    );
    let last = await_whole(&platform, &org);
    assert_whole(bucket, &key);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    let to = |more: &[&str], counted: i64| {
        let world = revive(bucket, &key, &[&["--lineage", &lineage], more].concat());
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted, "{more:?}");
    };
    // The first moment that is kept is one of the clock; entries after it are kept by index as well.
    for moment in kept {
        to(&["--timestamp", &stamp(moment.ms)], moment.counted);
    }
    for moment in &kept[1..] {
        to(&["--index", &moment.index.to_string()], moment.counted);
    }
    to(&["--index", &last.to_string()], 9);
    let data = place.path().join("data");
    let index = too_old.index.to_string();
    let more = ["--data-dir", data.to_str().unwrap(), "--lineage", &lineage, "--index", &index];
    let refused = restore(&["cluster"], bucket, &key, &more);
    assert!(
        !refused.status.success() && said(&refused).contains("before the oldest images"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_history_from_before_a_restore_goes_when_no_moment_that_is_kept_lies_in_it() {
    let place = tempfile::tempdir().unwrap();
    let (bucket, plant) = (place.path().join("bucket"), Plant::new());
    std::fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", &bucket).unwrap();
    let index = await_whole(&platform, &org);
    let of = |platform: &Caller| platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    let first = of(&platform);
    drop(world);
    // One that was restored, used, and given up; then another one from the same beginning, which lives.
    let given_up = revive(&bucket, &key, &[]);
    let platform = given_up.anonymous().with_token(platform.token());
    await_images(&platform, "one", index);
    let second = of(&platform);
    drop(given_up);
    let while_it_was_away = now_ms();
    let world = World::one_node_over_in(plant.environment(), |folder| {
        let more = ["--data-dir", folder.to_str().unwrap(), "--lineage", &first];
        let restored = restore(&["cluster"], &bucket, &key, &more);
        assert!(restored.status.success(), "{}", said(&restored));
    });
    let platform = world.anonymous().with_token(platform.token());
    let org = Organization { admin: world.anonymous().with_token(org.admin.token()), ..org };
    await_whole(&platform, &org);
    let third = of(&platform);
    // Somebody else's, who has a place of the same name.
    let strange = bucket.join("01990000-0000-7000-8000-000000000000");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(
        strange.join("lineage.json"),
        r#"{"format":1,"lineage":"01990000-0000-7000-8000-000000000000"}"#,
    )
    .unwrap();
    let there = |lineage: &str| !walk(&bucket.join(lineage)).is_empty();

    // A moment that is kept lies before this history began: the others are needed for it.
    plant.set(&[&sweep_before(while_it_was_away)]);
    await_swept(&world, 2);
    assert_eq!([&first, &second, &third].map(|id| there(id)), [true; 3]);
    let hold = |on: bool| {
        let set = platform.json("PATCH", &format!("{STATUS}/policy"), &json!({ "legal_hold": on }));
        assert_eq!(set.status, 200, "{}", set.body);
    };
    hold(true);
    plant.set(&[&sweep_before(now_ms())]);
    await_told(&world, "nothing is removed from a backup: legal hold", 2);
    assert!(there(&first) && there(&second));
    hold(false);
    await_swept(&world, 1);
    assert!(!there(&first) && !there(&second) && there(&third));
    assert!(strange.join("lineage.json").exists(), "it is of another family");
    plant.set(&[]);
    let last = await_whole(&platform, &org);
    assert_whole(&bucket, &key);
    drop(world);
    // What is asked for lies before everything that is kept, and the answer is not that something is missing.
    let data = place.path().join("data");
    let more = ["--data-dir", data.to_str().unwrap(), "--index", "1"];
    let refused = restore(&["cluster"], &bucket, &key, &more);
    assert!(
        !refused.status.success() && said(&refused).contains("before the oldest images"),
        "{}",
        said(&refused)
    );
    let world = revive(&bucket, &key, &["--index", &last.to_string()]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 3);
}

#[test]
fn a_history_into_which_somebody_still_writes_stays() {
    let (bucket, plant) = (tempfile::tempdir().unwrap(), Plant::new());
    let alive = World::one_node();
    let (platform, org) = (alive.platform(), alive.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_whole(&platform, &org);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    // A rehearsal on another machine, with the same bucket.
    let world = World::one_node_over_in(plant.environment(), |folder| {
        let restored = restore(&["cluster"], bucket.path(), &key, &["--data-dir", folder.to_str().unwrap()]);
        assert!(restored.status.success(), "{}", said(&restored));
    });
    let there = Organization { admin: world.anonymous().with_token(org.admin.token()), ..org.clone() };
    await_whole(&world.anonymous().with_token(platform.token()), &there);
    let before = now_ms();
    await_archived(&platform, "one", count(&org));
    plant.set(&[&sweep_before(before)]);
    await_swept(&world, 2);
    assert_eq!(
        walk(&bucket.path().join(&lineage)).iter().filter(|path| path.ends_with("vault.json")).count(),
        1
    );
    let index = await_whole(&platform, &org);
    drop((alive, world));
    let world = revive(bucket.path(), &key, &["--lineage", &lineage, "--index", &index.to_string()]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 3);
}

#[test]
fn a_key_is_retired_only_when_what_it_wraps_in_a_vault_is_under_the_next_one() {
    let (bucket, plant) = (tempfile::tempdir().unwrap(), Plant::new());
    let world = World::one_node_in(plant.environment(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    let before = await_whole(&platform, &org);
    // From now on the file has another key, and the former one is in the vault alone.
    assert_eq!(platform.post(&org.path("/keys/rotate"), &json!({})).status, 200);
    await_whole(&platform, &org);
    let stuck = "panic in the images of target one";
    plant.set(&[stuck]);
    let failing = || !super::target(&platform, "one")["failing"].is_null();
    await_condition("images to fail", SOON, failing);
    let rotate = || assert_eq!(platform.post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
    let keys = || platform.get("/api/v2/cluster/keys").json;
    let settled = || keys()["step"] == "settled";
    rotate();
    await_condition("the rotation to wait for the vault", SOON, || {
        keys()["waiting_for"].to_string().contains("the vault of backup target one")
    });
    assert!(!settled());
    plant.set(&[]);
    await_condition("the rotation to settle", Duration::from_secs(60), settled);
    let after = await_whole(&platform, &org);
    // Not for longer than the log is kept for it.
    plant.set(&[stuck, "spool_mib 0"]);
    await_condition("images to fail", SOON, failing);
    rotate();
    await_condition("the rotation to settle", Duration::from_secs(60), settled);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    for (index, counted) in [(before, 1), (after, 3)] {
        let world = revive(bucket.path(), &key, &["--lineage", &lineage, "--index", &index.to_string()]);
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted);
    }
}

/// An organization is made between two images, and the cluster key changes afterwards: by a rotation, or by an erasure that
/// forgets the former one for good. What comes back to then, and the organization.
fn made_between_images(bucket: &Path, erases: bool) -> (World, Organization) {
    let plant = Plant::new();
    let world = World::one_node_in(plant.environment(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let gone = world.organization("gone", "enterprise");
    let key = begin(&platform, "one", bucket).unwrap();
    await_whole(&platform, &org);
    plant.set(&["panic in the images of target one"]);
    await_condition("images to fail", SOON, || !super::target(&platform, "one")["failing"].is_null());
    let between = world.organization("between", "enterprise");
    let index = count(&between);
    await_archived(&platform, "one", index);
    plant.set(&[]);
    await_whole(&platform, &org);
    let changed = if erases {
        platform.post(&format!("/api/v2/organizations/{}/erase", gone.id), &json!({ "slug": "gone" }))
    } else {
        platform.post("/api/v2/cluster/keys/rotate", &json!({}))
    };
    assert!(changed.status < 300, "{}", changed.body);
    await_condition("the rotation to settle", Duration::from_secs(60), || {
        let keys = platform.get("/api/v2/cluster/keys").json;
        keys["step"] == "settled" && keys["generation"] == 2
    });
    await_whole(&platform, &org);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    (revive(bucket, &key, &["--lineage", &lineage, "--index", &index.to_string()]), between)
}

#[test]
fn an_organization_that_was_made_between_images_comes_back_after_the_key_it_was_made_under_is_retired() {
    let bucket = tempfile::tempdir().unwrap();
    let (world, between) = made_between_images(bucket.path(), false);
    assert_eq!(used(&world.anonymous().with_token(between.admin.token()), &between), 1);
}

#[test]
fn and_after_the_erasure_of_another_one_when_that_key_is_nobodys() {
    let bucket = tempfile::tempdir().unwrap();
    let (world, between) = made_between_images(bucket.path(), true);
    let admin = world.anonymous().log_in("admin@between.test", "correct horse battery staple", "between");
    assert_eq!(used(&admin, &between), 1);
}

#[test]
fn a_moment_before_an_erasure_comes_back_when_every_key_of_then_is_forgotten() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let gone = world.organization("gone", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    count(&gone);
    let before = await_whole(&platform, &org);
    let erase = format!("/api/v2/organizations/{}/erase", gone.id);
    assert!(platform.post(&erase, &json!({ "slug": "gone" })).status < 300);
    await_condition("the rotation that an erasure begins to settle", Duration::from_secs(60), || {
        let keys = platform.get("/api/v2/cluster/keys").json;
        keys["step"] == "settled" && keys["generation"] == 2
    });
    let vault = || {
        let vault = walk(bucket.path()).into_iter().find(|path| path.ends_with("vault.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(vault).unwrap()).unwrap()
    };
    await_condition("the vault to forget", SOON, || {
        count(&org);
        vault()["generations"] == json!([2])
    });
    assert!(vault()["files"].get(&gone.id).is_none());
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    let world = revive(bucket.path(), &key, &["--lineage", &lineage, "--index", &before.to_string()]);
    // Tokens of then are signed by what nobody has any more; whoever logs in anew finds everything.
    let caller = world.anonymous();
    assert_eq!(caller.with_token(org.admin.token()).get(&org.path("/stats")).status, 401);
    let admin = caller.log_in("admin@acme.test", "correct horse battery staple", "acme");
    assert_eq!(used(&admin, &org), 1);
    let world = &mut { world };
    world.crash_and_restart();
    assert_eq!(used(&admin, &org), 1, "the new keys stay");
}

#[test]
fn a_drill_is_right_about_a_file_that_has_another_key_by_now() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let drills = || platform.get(&format!("{STATUS}/drills")).json["drills"].as_array().unwrap().clone();
    for _ in 0..3 {
        assert_eq!(platform.post(&org.path("/keys/rotate"), &json!({})).status, 200);
        let before = drills().len();
        assert_eq!(platform.post(&format!("{STATUS}/drills"), &json!({})).status, 202);
        await_condition("a drill", Duration::from_secs(60), || drills().len() > before);
        let newest = drills().remove(0);
        assert_eq!(newest["passed"], true, "{newest}");
    }
}

#[test]
fn entries_under_a_key_that_came_and_went_between_images_come_back() {
    let (bucket, plant) = (tempfile::tempdir().unwrap(), Plant::new());
    let world = World::one_node_in(plant.environment(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_whole(&platform, &org);
    let stuck = "panic in the images of target one";
    plant.set(&[stuck]);
    await_condition("images to fail", SOON, || !super::target(&platform, "one")["failing"].is_null());
    let mut moments = Vec::new();
    for number in 2..5 {
        assert_eq!(platform.post(&org.path("/keys/rotate"), &json!({})).status, 200);
        let index = count(&org);
        await_condition("pages under the new key", SOON, || {
            platform.get("/api/v2/cluster/keys").json["members"][0]["keys"]["rekeying"] == 0
        });
        moments.push((index, number));
    }
    await_archived(&platform, "one", moments[2].0);
    plant.set(&[]);
    await_whole(&platform, &org);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    for (index, counted) in moments {
        let world = revive(bucket.path(), &key, &["--lineage", &lineage, "--index", &index.to_string()]);
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted);
    }
}
