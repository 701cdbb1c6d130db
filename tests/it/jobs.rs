//! Background work that panics: seen by somebody, at once.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    backup,
    harness::{Plant, World, await_condition},
};

#[test]
fn a_job_that_panics_halts_its_node_which_names_it_and_starts_again() {
    let plant = Plant::new();
    let mut world = World::one_node_in(plant.environment(), &[]);
    for job in ["upkeep", "rotate the cluster key", "back up", "scrub"] {
        plant.set(&[&format!("panic in {job}")]);
        assert_eq!(world.ended().code(), Some(70), "{job}");
        let said = world.said();
        assert!(said.contains(&format!("this node stopped: the job \"{job}\" panicked: planted")), "{said}");
        plant.set(&[]);
        world.restart();
    }
}

#[test]
fn a_part_of_an_uploader_that_panics_is_said_of_its_target_and_begins_anew() {
    let (plant, bucket) = (Plant::new(), tempfile::tempdir().unwrap());
    let world = World::one_node_in(plant.environment(), &[]);
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = backup::begin(&platform, "one", bucket.path()).unwrap();
    backup::await_images(&platform, "one", 1);
    for part in ["archive", "images", "retention"] {
        plant.set(&[&format!("panic in the {part} of target one")]);
        let told = format!("target one fails: the {part} of target one panicked");
        let alarmed = || platform.get(backup::STATUS).json["alarms"].to_string().contains(&told);
        await_condition("the alarm", Duration::from_secs(30), alarmed);
        // Nobody else is held up.
        backup::count(&org);
        plant.set(&[]);
    }
    let index = backup::count(&org);
    backup::await_archived(&platform, "one", index);
    backup::await_images(&platform, "one", index);
    drop(world);
    let world = backup::revive(bucket.path(), &key, &[]);
    assert_eq!(backup::used(&world.anonymous().with_token(org.admin.token()), &org), 4);
}

#[test]
fn a_drill_that_panics_is_a_drill_that_failed() {
    let (plant, bucket) = (Plant::new(), tempfile::tempdir().unwrap());
    plant.set(&["panic in a restore for a drill"]);
    let world = World::one_node_in(plant.environment(), &[]);
    let platform = world.platform();
    backup::begin(&platform, "one", bucket.path()).unwrap();
    backup::await_images(&platform, "one", 1);
    platform.post(&format!("{}/drills", backup::STATUS), &json!({}));
    let newest = || platform.get(&format!("{}/drills", backup::STATUS)).json["drills"][0].clone();
    await_condition("a drill", Duration::from_secs(60), || !newest().is_null());
    assert_eq!(newest()["passed"], false);
    let failed = newest()["drill"]["failed"].to_string();
    assert!(failed.contains("panicked") && failed.contains("planted"), "{failed}");
    assert!(fs::metadata(world.folder.path().join("store/backup/drill")).is_err(), "nothing is left behind");
}
