//! What an operator is told: the status, how its command ends, metrics; and clocks that are wrong.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use serde_json::json;

use super::{
    SOON, STATUS, await_archived, await_images, begin, count,
    faults::{assert_whole, verify},
    restore, revive, said, target, used,
};
use crate::{
    faults::Skew,
    harness::{BINARY, Caller, Plant, World, await_condition},
};

/// What `threatflow backup status` says to a platform administrator.
fn status(world: &World) -> Output {
    let server = ["--server", &world.url, "--email", "admin@localhost", "--password-file"];
    let password = world.folder.path().join("initial-admin-password");
    Command::new(BINARY).args(["backup", "status"]).args(server).arg(password).output().unwrap()
}

fn metric(world: &World, name: &str) -> Option<f64> {
    let page = world.anonymous().get("/metrics").body;
    let line =
        page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
}

fn alarms(platform: &Caller) -> String {
    platform.get(STATUS).json["alarms"].to_string()
}

#[test]
fn a_target_that_is_behind_is_an_alarm_until_it_is_not() {
    let place = tempfile::tempdir().unwrap();
    let (bucket, aside) = (place.path().join("bucket"), place.path().join("aside"));
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    begin(&platform, "one", &bucket).unwrap();
    let policy = json!({ "lag_seconds_max": 5 });
    assert_eq!(platform.json("PATCH", &format!("{STATUS}/policy"), &policy).status, 200);
    await_images(&platform, "one", count(&org));
    // The first drill is made as soon as there is something to restore.
    await_condition("no alarm", Duration::from_secs(60), || alarms(&platform) == "[]");
    let sound = status(&world);
    assert!(sound.status.success() && said(&sound).contains("audit events"), "{}", said(&sound));
    assert_eq!(metric(&world, "threatflow_backup_failing"), Some(0.0));
    await_condition("the drill to be told", SOON, || {
        metric(&world, "threatflow_backup_drill_passed_timestamp_seconds").is_some_and(|at| at > 1e9)
    });

    fs::rename(&bucket, &aside).unwrap();
    count(&org);
    await_condition("the alarm", SOON, || {
        alarms(&platform).contains("target one is behind: the newest moment")
    });
    assert_eq!(target(&platform, "one")["behind"], true);
    let told = status(&world);
    assert_eq!(told.status.code(), Some(1));
    assert!(said(&told).contains("! target one is behind"), "{}", said(&told));
    assert!(metric(&world, "threatflow_backup_lag_seconds").is_some_and(|lag| lag > 5.0));
    await_condition("it to fail", Duration::from_secs(60), || {
        metric(&world, "threatflow_backup_failing") == Some(1.0)
    });
    fs::rename(&aside, &bucket).unwrap();
    await_condition("no alarm", Duration::from_secs(60), || alarms(&platform) == "[]");
    assert!(status(&world).status.success());
}

#[test]
fn a_target_that_is_down_beyond_the_spool_costs_moments_between_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let (bucket, aside) = (place.path().join("bucket"), place.path().join("aside"));
    fs::create_dir(&bucket).unwrap();
    let plant = Plant::new();
    // A log that keeps next to nothing for its own sake.
    let short = [("THREATFLOW_LOG_KEEP_ENTRIES", "5"), ("THREATFLOW_CHECKPOINT_MS", "100")];
    let short = short.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world = World::one_node_in([plant.environment(), short].concat(), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", &bucket).unwrap();
    await_images(&platform, "one", 1);
    let before = count(&org);
    await_images(&platform, "one", before);
    await_archived(&platform, "one", before);
    fs::rename(&bucket, &aside).unwrap();
    let lost = (0..10).map(|_| count(&org)).min().unwrap();
    // While there is room for it nothing is cut.
    let purged = || metric(&world, r#"threatflow_raft_index{of="purged"}"#).unwrap();
    await_condition("the target to fail", Duration::from_secs(60), || {
        !target(&platform, "one")["failing"].is_null()
    });
    assert!(purged() < lost as f64, "{} of {lost}", purged());
    assert_eq!(metric(&world, "threatflow_backup_spool_full"), Some(0.0));
    plant.set(&["spool_mib 0"]);
    let last = (0..20).map(|_| count(&org)).max().unwrap();
    await_condition("the log to be cut", SOON, || {
        count(&org);
        purged() >= last as f64
    });
    assert!(alarms(&platform).contains("longer than spool_mib"), "{}", alarms(&platform));
    assert_eq!(metric(&world, "threatflow_backup_spool_full"), Some(1.0));
    assert!(world.said().contains("entries are given up"));
    plant.set(&[]);
    fs::rename(&aside, &bucket).unwrap();
    let after = count(&org);
    await_archived(&platform, "one", after);
    await_images(&platform, "one", after);
    assert!(
        alarms(&platform).contains("were given up: moments between cannot be restored"),
        "{}",
        alarms(&platform)
    );
    assert!(target(&platform, "one")["lost_entries"].as_u64().unwrap() > 20);
    assert!(metric(&world, "threatflow_backup_lost_entries_total").is_some_and(|lost| lost > 20.0));
    assert_eq!(status(&world).status.code(), Some(1));
    // What came between the gap and the first images after it cannot be reached either.
    let after = count(&org);
    await_archived(&platform, "one", after);
    let counted = used(&org.admin, &org);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);

    let verified = verify(&bucket, &key);
    assert_eq!(verified.status.code(), Some(1));
    assert_eq!(said(&verified).matches("every moment from entry").count(), 2, "{}", said(&verified));
    assert_eq!(said(&verified).matches("are missing: moments between").count(), 1, "{}", said(&verified));
    for (index, counted) in [(before, 1), (after, counted)] {
        let world = revive(&bucket, &key, &["--lineage", &lineage, "--index", &index.to_string()]);
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted);
    }
    let (data, index) = (place.path().join("data"), last.to_string());
    let more = ["--data-dir", data.to_str().unwrap(), "--lineage", &lineage, "--index", &index];
    let refused = restore(&["cluster"], &bucket, &key, &more);
    let told = said(&refused);
    assert!(!refused.status.success() && told.contains("are missing in the archive"), "{told}");
}

#[test]
fn a_clock_that_leaps_leaves_an_archive_whose_moments_are_what_was_known_then() {
    let (bucket, skew) = (tempfile::tempdir().unwrap(), Skew::build());
    let mut world = World::one_node_in(skew.environment(0), &[]);
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let mut last = 0;
    // Not so far that tokens would be refused for it; far more than entries are apart.
    for seconds in [0, 50, -50, 0] {
        skew.set(0, seconds);
        if seconds < 0 {
            // What was stamped ahead is in the log and in the files alone.
            world.crash_and_restart();
        }
        last = (0..3).map(|_| count(&org)).max().unwrap();
        await_archived(&platform, "one", last);
        await_images(&platform, "one", last);
    }
    assert!(skew.told(0) > 0);
    let events = org.admin.get(&org.path("/audit-events?limit=200&action=quotas.report_usage")).json;
    let mut stamps: Vec<String> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"]["at"].as_str().unwrap().to_owned())
        .collect();
    stamps.reverse();
    assert_eq!(stamps.len(), 12, "{events}");
    assert!(stamps.is_sorted(), "{stamps:?}");
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    assert_whole(bucket.path(), &key);
    let own = |more: &[&str]| -> i64 {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("acme.db");
        let more = [&["--lineage", &lineage, "--to", to.to_str().unwrap()], more].concat();
        let written = restore(&["organization", &org.id], bucket.path(), &key, &more);
        assert!(written.status.success(), "{}", said(&written));
        let file = rusqlite::Connection::open(&to).unwrap();
        let sql = "SELECT count(*) FROM audit_events WHERE action = 'quotas.report_usage'";
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    for at in [&stamps[0], &stamps[2], &stamps[4], &stamps[7], &stamps[11]] {
        let known = stamps.iter().filter(|stamp| *stamp <= at).count();
        assert_eq!(own(&["--timestamp", at]), i64::try_from(known).unwrap(), "{at}: {stamps:?}");
    }
    assert_eq!(own(&["--index", &last.to_string()]), 12);
}
