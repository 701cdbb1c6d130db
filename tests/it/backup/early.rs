//! Restores in the middle of which the node serves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    SOON, STATUS, await_archived, await_images, begin, count, restore, revive, said, target, used, walk,
};
use crate::harness::{Answer, BINARY, Caller, Organization, World, await_condition, code, free_port};

/// Long enough for a request to a pipe that nobody writes to to be given up, and for the next try.
const TRIED_AGAIN: Duration = Duration::from_secs(90);

/// A bucket, and what was put into it.
struct Backup {
    place: tempfile::TempDir,
    key: String,
    platform: String,
    /// Each counted two up: once before the images, and once after them.
    orgs: Vec<Organization>,
    last: u64,
}

impl Backup {
    /// The organizations changed last in their order.
    fn of(slugs: &[String]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let bucket = place.path().join("bucket");
        fs::create_dir(&bucket).unwrap();
        let world = World::one_node();
        let platform = world.platform();
        let key = begin(&platform, "one", &bucket).unwrap();
        let orgs: Vec<_> = slugs.iter().map(|slug| world.organization(slug, "enterprise")).collect();
        orgs.iter().for_each(|org| assert!(count(org) > 0));
        // From now on no image is put but the first of the uploader that begins with the new policy.
        let rare = platform.json("PATCH", &format!("{STATUS}/policy"), &json!({ "image_seconds": 3600 }));
        await_images(&platform, "one", rare.header("x-log-index").unwrap().parse().unwrap());
        let last = orgs.iter().map(count).max().unwrap();
        await_archived(&platform, "one", last);
        let put = target(&platform, "one")["images_index"].as_u64().unwrap();
        assert!(put < last, "entries follow the images: {put} and {last}");
        Self { platform: platform.token().to_owned(), key, orgs, last, place }
    }

    fn bucket(&self) -> PathBuf {
        self.place.path().join("bucket")
    }

    fn revive(&self) -> World {
        revive(&self.bucket(), &self.key, &["--bytes-per-second", "262144"])
    }

    fn platform(&self, world: &World) -> Caller {
        world.anonymous().with_token(&self.platform)
    }

    /// The organization, at a node that was restored.
    fn at(&self, world: &World, org: usize) -> Organization {
        let org = &self.orgs[org];
        Organization { admin: world.anonymous().with_token(org.admin.token()), ..org.clone() }
    }

    /// The images of an organization.
    fn images(&self, org: usize) -> Vec<PathBuf> {
        let id = &self.orgs[org].id;
        let of = |path: &PathBuf| {
            path.to_str().unwrap().contains(id) && path.extension().is_some_and(|e| e == "ltx")
        };
        walk(&self.bucket()).into_iter().filter(of).collect()
    }

    /// Makes images of organizations arrive never, until they are let go: pipes that nobody writes to are in their place.
    fn hold(&self, orgs: impl Iterator<Item = usize>) -> Held {
        let mut held = Vec::new();
        for (org, image) in orgs.flat_map(|org| self.images(org).into_iter().map(move |image| (org, image))) {
            let aside = self.place.path().join(format!("held-{}", held.len()));
            fs::rename(&image, &aside).unwrap();
            assert!(Command::new("mkfifo").arg(&image).status().unwrap().success());
            held.push((org, image, aside));
        }
        Held(held)
    }
}

struct Held(Vec<(usize, PathBuf, PathBuf)>);

impl Held {
    fn let_go(mut self) {
        let orgs: Vec<usize> = self.0.iter().map(|(org, _, _)| *org).collect();
        orgs.into_iter().for_each(|org| self.let_go_of(org));
    }

    fn let_go_of(&mut self, org: usize) {
        for (_, image, aside) in self.0.iter().filter(|(of, _, _)| *of == org) {
            fs::remove_file(image).unwrap();
            fs::rename(aside, image).unwrap();
        }
        self.0.retain(|(of, _, _)| *of != org);
    }
}

fn named(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("org-{number}")).collect()
}

/// How far the restore is, as the node says it; null when it is complete.
fn progress(platform: &Caller) -> Value {
    let status = platform.get("/api/v2/cluster");
    assert_eq!(status.status, 200, "{}", status.body);
    status.json["members"][0]["about"]["restore"].clone()
}

fn await_complete(platform: &Caller, within: Duration) {
    await_condition("the restore to be complete", within, || progress(platform).is_null());
}

fn assert_awaited(answer: &Answer) {
    // One that has been tried for long is no longer said to come.
    let told = ["not_restored_yet", "not_restored"].contains(&code(answer));
    assert!(answer.status == 503 && told, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
}

fn stats(org: &Organization) -> Answer {
    org.admin.get(&org.path("/stats"))
}

#[test]
fn a_node_serves_while_most_is_missing_and_what_is_asked_for_comes_first() {
    let backup = Backup::of(&named(12));
    let mut held = backup.hold(0..12);
    let world = backup.revive();
    let platform = backup.platform(&world);
    assert_eq!(platform.get("/api/v2/organizations").json["data"].as_array().unwrap().len(), 12);
    // As many as may be are under way, and stuck.
    let arriving = world.folder.path().join("store/arriving");
    let waits = |org: &usize| !arriving.join(&backup.orgs[*org].id).exists();
    await_condition("eight to be under way", SOON, || (0..12).filter(waits).count() == 4);
    let before = progress(&platform);
    assert_eq!((&before["here"], &before["of"]), (&json!(0), &json!(12)), "{before}");
    let waiting: Vec<usize> = (0..12).filter(waits).collect();
    held.let_go_of(waiting[0]);
    let first = backup.at(&world, waiting[0]);
    assert_eq!(used(&first.admin, &first), 2);
    count(&first);
    assert_eq!(used(&first.admin, &first), 3);
    assert_eq!(progress(&platform)["here"], 1);
    // Of the others nothing is said that is not so, and nothing is written.
    let stuck = backup.at(&world, waiting[1]);
    assert_awaited(&stats(&stuck));
    assert_awaited(&platform.get(&stuck.path("/stats")));
    assert_awaited(&platform.post(&stuck.path("/plan"), &json!({ "plan": "enterprise" })));
    let metrics = world.anonymous().get("/metrics").body;
    assert!(metrics.contains("threatflow_restore_organizations{of=\"here\"} 1\n"), "{metrics}");
    let verbose = world.anonymous().get("/readyz?verbose");
    assert_eq!(verbose.status, 200);
    assert!(verbose.body.contains("the restore is not complete: 1 of 12"), "{}", verbose.body);
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_doubles_nothing() {
    let backup = Backup::of(&named(6));
    let held = backup.hold(2..6);
    let mut world = backup.revive();
    let platform = backup.platform(&world);
    for org in 0..2 {
        let org = backup.at(&world, org);
        count(&org);
        count(&org);
    }
    assert_eq!(progress(&platform)["here"], 2);
    world.crash_and_restart();
    assert_eq!(progress(&platform)["here"], 2, "what was here is here");
    for org in 0..2 {
        let org = backup.at(&world, org);
        assert_eq!(used(&org.admin, &org), 4);
    }
    held.let_go();
    world.crash_and_restart();
    await_complete(&platform, TRIED_AGAIN);
    for round in 0..2 {
        for (org, counted) in [(0, 4), (1, 4), (2, 2), (3, 2), (4, 2), (5, 2)] {
            let org = backup.at(&world, org);
            assert_eq!(used(&org.admin, &org), counted + round, "{}", org.slug);
            count(&org);
        }
        world.crash_and_restart();
    }
    for left in ["awaited.json", "arriving"] {
        assert!(!world.folder.path().join("store").join(left).exists(), "{left}");
    }
}

/// A second node, which ends with its test.
struct Second(Child);

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a second node that joins.
fn join(token: &str, folder: &Path) -> Second {
    let address = || format!("127.0.0.1:{}", free_port());
    let stderr = fs::OpenOptions::new().create(true).append(true).open(folder.join("stderr.log")).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--node-id", "2", "--listen", &address(), "--peer-listen", &address()]);
    command.args(["--join", token, "--data-dir"]).arg(folder).stderr(stderr);
    Second(command.spawn().unwrap())
}

#[test]
fn other_nodes_join_and_backups_begin_when_everything_is_here() {
    let backup = Backup::of(&named(3));
    let missing: Vec<_> = backup.images(1);
    let aside = |image: &Path| image.with_extension("aside");
    missing.iter().for_each(|image| fs::rename(image, aside(image)).unwrap());
    let world = backup.revive();
    let platform = backup.platform(&world);
    await_condition("the others to be here", SOON, || progress(&platform)["here"] == 2);
    let token =
        platform.post("/api/v2/cluster/join-tokens", &json!({})).json["token"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let mut refused = join(&token, folder.path());
    await_condition("the second node to be refused", SOON, || refused.0.try_wait().unwrap().is_some());
    let told = fs::read_to_string(folder.path().join("stderr.log")).unwrap();
    assert!(told.contains("the restore is not complete: 2 of 3"), "{told}");
    let status = platform.get(STATUS);
    assert!(
        status.json["alarms"].to_string().contains("before the restore is complete: 2 of 3"),
        "{}",
        status.body
    );
    assert_eq!(target(&platform, "one")["archived_index"], 0, "{}", status.body);
    count(&backup.at(&world, 0));
    missing.iter().for_each(|image| fs::rename(aside(image), image).unwrap());
    await_complete(&platform, TRIED_AGAIN);
    let index = (0..3).map(|org| count(&backup.at(&world, org))).max().unwrap();
    await_images(&platform, "one", 1);
    await_archived(&platform, "one", index);
    let second = join(&token, folder.path());
    await_condition("the second node to join", Duration::from_secs(60), || {
        let members = platform.get("/api/v2/cluster").json["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["node"] == 2 && member["voter"] == true)
    });
    let files = walk(&folder.path().join("store/tenants"));
    assert_eq!(files.iter().filter(|path| path.extension().is_some_and(|end| end == "db")).count(), 3);
    drop((second, world));
    // What was written in the middle of the restore is in the new history, as what came after it.
    let world = backup.revive();
    let org = backup.at(&world, 0);
    assert_eq!(used(&org.admin, &org), 4);
}

#[test]
fn a_damaged_image_is_an_alarm_that_names_it_and_its_neighbours_serve() {
    let backup = Backup::of(&named(3));
    // The newest chain of one: a byte of each of its objects.
    let whole: Vec<_> =
        backup.images(1).into_iter().map(|image| (fs::read(&image).unwrap(), image)).collect();
    for (bytes, image) in &whole {
        let mut bytes = bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(image, bytes).unwrap();
    }
    let world = backup.revive();
    let platform = backup.platform(&world);
    for org in [0, 2] {
        let org = backup.at(&world, org);
        assert_eq!(used(&org.admin, &org), 2);
    }
    let bad = backup.at(&world, 1);
    await_condition("the damage to be met", SOON, || progress(&platform)["failing"] == 1);
    let answer = stats(&bad);
    assert_eq!((answer.status, code(&answer)), (503, "not_restored"), "{}", answer.body);
    let alarms = platform.get("/api/v2/cluster").json["members"][0]["about"]["alarms"].clone();
    let detail = alarms[&bad.id]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(&bad.id) && detail.contains(".ltx"), "{alarms}");
    assert!(!world.anonymous().get("/readyz?verbose").body.contains(&bad.id), "a probe names no tenant");
    // Put right in the bucket, it comes.
    whole.iter().for_each(|(bytes, image)| fs::write(image, bytes).unwrap());
    await_complete(&platform, TRIED_AGAIN);
    assert_eq!(used(&bad.admin, &bad), 2);
}

#[test]
fn a_bucket_that_goes_away_is_waited_for_and_what_is_here_is_served() {
    let backup = Backup::of(&named(4));
    let held = backup.hold(1..4);
    let mut world = backup.revive();
    let platform = backup.platform(&world);
    let here = backup.at(&world, 0);
    assert_eq!(used(&here.admin, &here), 2);
    held.let_go();
    let (bucket, aside) = (backup.bucket(), backup.place.path().join("aside"));
    fs::rename(&bucket, &aside).unwrap();
    world.crash_and_restart();
    await_condition("the bucket to be missed", SOON, || progress(&platform)["stalled"].is_string());
    assert_eq!(used(&here.admin, &here), 2);
    let gone = backup.at(&world, 2);
    assert_awaited(&stats(&gone));
    assert_eq!(progress(&platform)["failing"], 0, "it is the bucket, not its images");
    let warnings = platform.get("/api/v2/cluster").json["members"][0]["about"]["warnings"].to_string();
    assert!(warnings.contains("the restore waits for the backup"), "{warnings}");
    fs::rename(&aside, &bucket).unwrap();
    await_complete(&platform, TRIED_AGAIN);
    assert_eq!(used(&gone.admin, &gone), 2);
}

#[test]
fn an_effect_that_was_under_way_arrives_when_its_organization_is_here() {
    let backup = Backup::of(&named(1));
    // A history of its own, in which a name changes: the organization's file says so first, and tells the registry.
    let world = backup.revive();
    let (platform, org) = (backup.platform(&world), backup.at(&world, 0));
    await_complete(&platform, SOON);
    await_images(&platform, "one", 1);
    let before = count(&org);
    let renamed = org.admin.json("PATCH", &org.path(""), &json!({ "name": "Renamed" }));
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    let after = count(&org);
    await_archived(&platform, "one", after);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    let mut sent = 0;
    for index in before..=after {
        let world =
            revive(&backup.bucket(), &backup.key, &["--lineage", &lineage, "--index", &index.to_string()]);
        let (platform, org) = (backup.platform(&world), backup.at(&world, 0));
        let own = || org.admin.get(&org.path("")).json["name"].clone();
        await_condition("the organization to be here", SOON, || !own().is_null());
        if own() != "Renamed" {
            continue;
        }
        sent += 1;
        let listed = || platform.get("/api/v2/organizations").json["data"][0]["name"].clone();
        await_condition("the registry to be told", SOON, || listed() == "Renamed");
    }
    assert!(sent >= 2, "before and after the effect arrived: {sent} of {before} to {after}");
}

#[test]
fn a_whole_restore_has_everything_before_it_can_be_started() {
    let backup = Backup::of(&named(3));
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let into = ["--whole", "--data-dir", data.to_str().unwrap()];
    let restored = restore(&["cluster"], &backup.bucket(), &backup.key, &into);
    assert!(restored.status.success(), "{}", said(&restored));
    let told = said(&restored);
    let index = told.split("restored 4 files up to entry ").nth(1).and_then(|rest| rest.split(' ').next());
    // What the node said of its backup may have been archived behind it.
    assert!(index.is_some_and(|index| index.parse::<u64>().unwrap() >= backup.last), "{told}");
    assert!(!data.join("store/awaited.json").exists());
}
