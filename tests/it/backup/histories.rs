//! Several histories in one bucket: of before a restore, of a rehearsal, and of two that take themselves for the same.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    SOON, STATUS, await_archived, await_images, begin, count,
    kept::{await_swept, await_whole},
    live::{investigate, titles},
    restore, said, target, used, walk,
};
use crate::harness::{BINARY, Caller, Organization, Plant, World, await_condition};

/// Looks at the bucket now, and removes nothing for its age.
pub const LOOK: &str = "sweep what is older than 1";
const SILENT: &str = "another history is silent after 0";

fn lineage(platform: &Caller) -> String {
    platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned()
}

fn vault(bucket: &Path, lineage: &str) -> Value {
    let vault = walk(&bucket.join(lineage)).into_iter().find(|path| path.ends_with("vault.json"));
    serde_json::from_slice(&fs::read(vault.unwrap()).unwrap()).unwrap()
}

/// The same cluster on another machine, out of the bucket.
fn rehearse(bucket: &Path, key: &str, plant: &Plant) -> World {
    World::one_node_over_in(plant.environment(), |folder| {
        let restored = restore(&["cluster"], bucket, key, &["--data-dir", folder.to_str().unwrap()]);
        assert!(restored.status.success(), "{}", said(&restored));
    })
}

fn erase(platform: &Caller, org: &Organization, slug: &str) {
    let erased = platform.post(&format!("/api/v2/organizations/{}/erase", org.id), &json!({ "slug": slug }));
    assert!(erased.status < 300, "{}", erased.body);
    await_condition("the rotation that an erasure begins to settle", Duration::from_secs(60), || {
        platform.get("/api/v2/cluster/keys").json["step"] == "settled"
    });
}

#[test]
fn what_is_erased_after_a_restore_opens_in_no_earlier_history_either() {
    let (plant, place) = (Plant::new(), tempfile::tempdir().unwrap());
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let (gone, stays) = (world.organization("gone", "enterprise"), world.organization("stays", "enterprise"));
    let key = begin(&platform, "one", &bucket).unwrap();
    count(&gone);
    await_whole(&platform, &stays);
    let first = lineage(&platform);
    drop(world);
    let to = |org: &Organization, name: &str| {
        let to = place.path().join(name);
        let more = ["--lineage", &first, "--to", to.to_str().unwrap()];
        restore(&["organization", &org.id], &bucket, &key, &more)
    };
    assert!(to(&gone, "before.db").status.success());

    let world = rehearse(&bucket, &key, &plant);
    let platform = world.anonymous().with_token(platform.token());
    let stays = Organization { admin: world.anonymous().with_token(stays.admin.token()), ..stays };
    await_whole(&platform, &stays);
    plant.set(&[LOOK, SILENT]);
    erase(&platform, &gone, "gone");
    let generation = || platform.get("/api/v2/cluster/keys").json["generation"].clone();
    await_condition("its keys, and what wrapped them, to leave the earlier vault", SOON, || {
        count(&stays);
        let vault = vault(&bucket, &first);
        vault["files"].get(&gone.id).is_none() && vault["generations"] == json!([generation()])
    });
    let refused = to(&gone, "after.db");
    assert!(!refused.status.success() && said(&refused).contains("erased since"), "{}", said(&refused));
    // Whoever was not erased comes back from there as before.
    let written = to(&stays, "stays.db");
    assert!(written.status.success(), "{}", said(&written));
}

#[test]
fn a_rehearsal_takes_nothing_from_a_cluster_that_lives_and_is_told_of() {
    let bucket = tempfile::tempdir().unwrap();
    let (here, there) = (Plant::new(), Plant::new());
    let alive = World::one_node_in(here.environment(), &[]);
    let platform = alive.platform();
    let (org, gone) = (alive.organization("acme", "enterprise"), alive.organization("gone", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    count(&gone);
    await_whole(&platform, &org);
    let index = investigate(&org, "before");
    await_whole(&platform, &org);
    let own = lineage(&platform);

    let rehearsal = rehearse(bucket.path(), &key, &there);
    let elsewhere = rehearsal.anonymous().with_token(platform.token());
    let org_there =
        Organization { admin: rehearsal.anonymous().with_token(org.admin.token()), ..org.clone() };
    await_whole(&elsewhere, &org_there);
    // It lives, and says so.
    await_archived(&platform, "one", investigate(&org, "after"));
    there.set(&[LOOK]);
    erase(&elsewhere, &gone, "gone");
    await_swept(&rehearsal, 3);
    assert!(
        vault(bucket.path(), &own)["files"].get(&gone.id).is_some(),
        "it is not the rehearsal's to erase"
    );

    here.set(&[LOOK]);
    await_condition("another cluster to be told of", SOON, || {
        let failing = target(&platform, "one")["failing"].to_string();
        failing.contains("another cluster writes here") && failing.contains(&lineage(&elsewhere))
    });
    // One organization comes back out of this cluster's own history all the same.
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::copy(alive.folder.path().join("initial-admin-password"), password.path()).unwrap();
    let asked = Command::new(BINARY)
        .args(["restore", "in-place", &org.id, "--index", &index.to_string(), "--server", &alive.url])
        .arg("--password-file")
        .arg(password.path())
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", said(&asked));
    let admin = alive.anonymous().log_in("admin@acme.test", "correct horse battery staple", "acme");
    assert_eq!(titles(&admin, &org), ["before"]);

    let leads = || {
        let head: Value = serde_json::from_slice(&fs::read(bucket.path().join("HEAD")).unwrap()).unwrap();
        head["lineage"].as_str().unwrap().to_owned()
    };
    assert_eq!(leads(), lineage(&elsewhere));
    drop(rehearsal);
    here.set(&[LOOK, SILENT]);
    await_condition("the cluster that lives to lead again", SOON, || leads() == own);
    await_condition("it to work", SOON, || target(&platform, "one")["failing"].is_null());
}

/// A copy of a stopped node's folder, made to run beside it: what must never be done.
fn doubled(world: &World, plant: &Plant) -> World {
    World::one_node_over_in(plant.environment(), |folder| {
        let from = format!("{}/.", world.folder.path().display());
        assert!(Command::new("cp").args(["-a", &from]).arg(folder).status().unwrap().success());
    })
}

#[test]
fn two_clusters_that_take_themselves_for_one_do_not_mix_in_its_history() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_whole(&platform, &org);
    world.crash();
    let double = doubled(&world, &Plant::new());
    let elsewhere = double.anonymous().with_token(platform.token());
    let org_there = Organization { admin: double.anonymous().with_token(org.admin.token()), ..org.clone() };
    for _ in 0..5 {
        await_archived(&elsewhere, "one", count(&org_there));
    }
    world.restart();
    // Other entries under the same numbers: they reach its own log, and the bucket never.
    let other = world.organization("other", "enterprise");
    for _ in 0..3 {
        count(&other);
    }
    await_condition("it to tell that the history is another's", Duration::from_secs(60), || {
        target(&platform, "one")["failing"].to_string().contains("not this cluster's")
    });
    let last = count(&org_there);
    await_archived(&elsewhere, "one", last);
    await_images(&elsewhere, "one", 1);
    drop((world, double));
    let world = super::revive(bucket.path(), &key, &["--index", &last.to_string()]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 7);
    let missing = world.anonymous().with_token(other.admin.token()).get(&other.path("/stats"));
    assert_ne!(missing.status, 200, "{}", missing.body);
}
