//! Backup: what was acknowledged comes back from a bucket, on a machine that has nothing else.

mod alarms;
mod commands;
mod early;
mod faults;
mod gaps;
mod histories;
mod kept;
mod live;
mod steps;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{BINARY, Caller, Demo, Organization, World, await_condition, create_organization};

pub const SOON: Duration = Duration::from_secs(30);
pub const STATUS: &str = "/api/v2/cluster/backup";

/// Begins to back up to `bucket`; answers the recovery key.
pub fn begin(platform: &Caller, name: &str, bucket: &Path) -> Option<String> {
    let body = json!({ "settings": { "kind": "folder", "path": bucket } });
    let answer = platform.put(&format!("{STATUS}/targets/{name}"), &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let faster = platform.json("PATCH", &format!("{STATUS}/policy"), &json!({ "image_seconds": 1 }));
    assert_eq!(faster.status, 200, "{}", faster.body);
    answer.json["recovery_key"].as_str().map(str::to_owned)
}

/// Now, as nodes on this machine have it.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A moment as commands take it.
pub fn stamp(ms: i64) -> String {
    threatflow::kernel::Millis(ms).to_string()
}

pub fn target(platform: &Caller, name: &str) -> Value {
    let status = platform.get(STATUS).json;
    let found = status["targets"].as_array().unwrap().iter().find(|target| target["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("no target {name}: {status}"))
}

/// Waits until everything up to `index` is in the archive.
pub fn await_archived(platform: &Caller, name: &str, index: u64) {
    await_condition("everything to be archived", SOON, || {
        target(platform, name)["archived_index"].as_u64().unwrap() >= index
    });
}

pub fn await_images(platform: &Caller, name: &str, index: u64) {
    await_condition("images to be put", SOON, || {
        target(platform, name)["images_index"].as_u64().unwrap() >= index
    });
}

/// Counts one up; answers the index of the entry.
pub fn count(org: &Organization) -> u64 {
    let answer = org.admin.post(&org.path("/usage"), &json!({ "resource": "max_workflows", "amount": 1 }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-log-index").unwrap().parse().unwrap()
}

pub fn used(caller: &Caller, org: &Organization) -> i64 {
    let stats = caller.get(&org.path("/stats"));
    assert_eq!(stats.status, 200, "{}", stats.body);
    stats.json["usage"]["active_workflows"].as_i64().unwrap()
}

pub fn restore(what: &[&str], bucket: &Path, key: &str, more: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), key).unwrap();
    Command::new(BINARY)
        .arg("restore")
        .args(what)
        .arg("--from")
        .arg(bucket)
        .arg("--recovery-key-file")
        .arg(file.path())
        .args(more)
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Restores the cluster into a folder and starts it.
pub fn revive(bucket: &Path, key: &str, more: &[&str]) -> World {
    World::one_node_over(|folder| {
        let folder = folder.to_str().unwrap();
        let restored = restore(&["cluster"], bucket, key, &[&["--data-dir", folder], more].concat());
        assert!(restored.status.success(), "{}", said(&restored));
    })
}

#[test]
fn a_cluster_comes_back_from_its_bucket_with_everything_that_was_archived() {
    let bucket = tempfile::tempdir().unwrap();
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let before = create_organization(&platform, "before", "enterprise", None);
    let key = begin(&platform, "one", bucket.path()).unwrap();
    assert!(begin(&platform, "two", tempfile::tempdir().unwrap().path()).is_none(), "shown once");
    count(&before);
    await_images(&platform, "one", 1);
    let after = create_organization(&platform, "after", "enterprise", None);
    let last = (0..5).map(|_| count(&before).max(count(&after))).max().unwrap();
    await_archived(&platform, "one", last);
    drop(demo);

    let world = revive(bucket.path(), &key, &[]);
    // Sessions, passwords and signing keys are the same: who was logged in still is.
    let caller = world.anonymous();
    let platform = caller.with_token(platform.token());
    for (org, counted) in [(&before, 6), (&after, 5)] {
        let admin = caller.with_token(org.admin.token());
        assert_eq!(used(&admin, org), counted, "{}", org.slug);
    }
    // It goes on, in a history of its own, and a second restore has both.
    let first = platform.get(STATUS).json["lineage"].clone();
    let revived = Organization {
        id: after.id.clone(),
        slug: after.slug.clone(),
        admin: caller.with_token(after.admin.token()),
    };
    let index = count(&revived);
    assert!(index > last, "{index} after {last}");
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    drop(world);
    let world = revive(bucket.path(), &key, &[]);
    let caller = world.anonymous();
    assert_eq!(used(&caller.with_token(after.admin.token()), &after), 6);
    let second = caller.with_token(platform.token()).get(STATUS).json["lineage"].clone();
    assert_ne!(first, second);
}

#[test]
fn a_moment_in_the_past_comes_back_without_what_came_after_it() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let moments: Vec<u64> = (0..6)
        .map(|_| {
            let index = count(&org);
            await_archived(&platform, "one", index);
            index
        })
        .collect();
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    for (counted, index) in [(6, moments[5]), (4, moments[3]), (1, moments[0])] {
        // By its name, and, once others were restored from it, as the one before them.
        let named = ["--lineage", &lineage, "--index", &index.to_string()];
        let world = revive(bucket.path(), &key, if counted == 4 { &named } else { &named[2..] });
        let platform = world.anonymous().with_token(platform.token());
        await_images(&platform, "one", index);
        assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), counted);
    }
    let beyond = (moments[5] + 1_000).to_string();
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let data = data.to_str().unwrap();
    let refused = restore(&["cluster"], bucket.path(), &key, &["--data-dir", data, "--index", &beyond]);
    assert!(!refused.status.success() && said(&refused).contains(&beyond), "{}", said(&refused));
}

#[test]
fn a_restore_needs_its_key_and_an_empty_folder_and_says_what_is_wrong() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let key = begin(&world.platform(), "one", bucket.path()).unwrap();
    await_images(&world.platform(), "one", 1);
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let into = ["--data-dir", data.to_str().unwrap()];
    // A key that reads well and is another's.
    let other = tempfile::tempdir().unwrap();
    let strange = World::one_node();
    let strange = begin(&strange.platform(), "one", other.path()).unwrap();
    let told = said(&restore(&["cluster"], bucket.path(), &strange, &into));
    assert!(told.contains("the recovery key does not open this backup"), "{told}");
    let told = said(&restore(&["cluster"], bucket.path(), &key[..key.len() - 1], &into));
    assert!(told.contains("holds no recovery key"), "{told}");
    let told = said(&restore(&["cluster"], &place.path().join("nowhere"), &key, &into));
    assert!(told.contains("nowhere"), "{told}");
    // A folder that is in use, and one that holds data.
    let full = ["--data-dir", world.folder.path().to_str().unwrap()];
    let told = said(&restore(&["cluster"], bucket.path(), &key, &full));
    assert!(told.contains("in use by another threatflow"), "{told}");
    assert!(restore(&["cluster"], bucket.path(), &key, &into).status.success());
    let told = said(&restore(&["cluster"], bucket.path(), &key, &into));
    assert!(told.contains("never writes over data"), "{told}");
}

#[test]
fn one_organization_is_written_as_a_plain_file() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    let index = count(&org);
    await_images(&platform, "one", index);
    let to = bucket.path().join("acme.db");
    let more = ["--to", to.to_str().unwrap()];
    let written = restore(&["organization", &org.id], bucket.path(), &key, &more);
    assert!(written.status.success(), "{}", said(&written));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600, "in the clear, for its owner");
    let file = rusqlite::Connection::open(&to).unwrap();
    let whole: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let events: i64 = file.query_row("SELECT count(*) FROM audit_events", [], |row| row.get(0)).unwrap();
    assert!(events > 0);
    let told = said(&restore(&["organization", &org.id], bucket.path(), &key, &more));
    assert!(told.contains("never writes over data"), "{told}");
}

#[test]
fn a_sealed_file_that_another_program_restored_is_written_in_the_clear_for_who_has_its_key() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    // An image is what lay on disk then.
    await_images(&platform, "one", count(&org));
    drop(platform);
    let stores: Vec<_> = walk(world.folder.path());
    let sealed = stores.iter().find(|path| path.ends_with(format!("tenants/{}.db", org.id))).unwrap();
    let copy = bucket.path().join("sealed.db");
    fs::copy(sealed, &copy).unwrap();
    let open = |sealed: &Path, id: &str, to: &Path| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &key).unwrap();
        let mut command = Command::new(BINARY);
        command
            .args(["backup", "open"])
            .arg(sealed)
            .args(["--organization", id, "--from"])
            .arg(bucket.path());
        command.arg("--recovery-key-file").arg(file.path()).arg("--to").arg(to).output().unwrap()
    };
    let to = bucket.path().join("acme.db");
    let opened = open(&copy, &org.id, &to);
    assert!(opened.status.success(), "{}", said(&opened));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600, "in the clear, for its owner");
    let file = rusqlite::Connection::open(&to).unwrap();
    let whole: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let other = bucket.path().join("other.db");
    for (told, wanted) in [
        (said(&open(&copy, &org.id, &to)), "is there already"),
        (said(&open(&copy, "00000000-0000-0000-0000-000000000000", &other)), "no key of"),
        (said(&open(&copy, "01990000-0000-7000-8000-000000000000", &other)), "it was erased"),
        (said(&open(&to, &org.id, &other)), "no key of"),
        (said(&open(&other, &org.id, &other)), "cannot be read"),
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert!(!other.exists() && !other.with_extension("opening").exists());
}

#[test]
fn a_drill_restores_what_is_live_and_is_recorded() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    for slug in ["a-one", "a-two"] {
        count(&world.organization(slug, "enterprise"));
    }
    assert_eq!(platform.post(&format!("{STATUS}/drills"), &json!({})).status, 409, "there is no target");
    begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    assert_eq!(platform.post(&format!("{STATUS}/drills"), &json!({})).status, 202);
    let drills = || platform.get(&format!("{STATUS}/drills")).json["drills"].as_array().unwrap().clone();
    await_condition("a drill", Duration::from_secs(60), || !drills().is_empty());
    let newest = drills().remove(0);
    assert_eq!(newest["passed"], true, "{newest}");
    let files = newest["drill"]["files"].as_object().unwrap().clone();
    assert_eq!(files.len(), 3, "{newest}");
    assert!(files.values().any(|file| file["compared_at"].is_number()), "{newest}");
    for (file, tested) in &files {
        let (events, head) = (tested["trail"]["events"].as_i64(), tested["trail"]["head"].as_str());
        assert!(events.is_some_and(|events| events > 0), "{file}: {tested}");
        assert!(head.is_some_and(|head| head.len() == 64), "{file}: {tested}");
    }
    assert!(platform.get(STATUS).json["alarms"].as_array().unwrap().is_empty());

    // A byte of an image changes: the drill names it, and it is an alarm.
    let images: Vec<_> =
        walk(bucket.path()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "ltx")).collect();
    for image in &images {
        let mut bytes = fs::read(image).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(image, bytes).unwrap();
    }
    let before = drills().len();
    platform.post(&format!("{STATUS}/drills"), &json!({}));
    await_condition("a drill that fails", Duration::from_secs(60), || drills().len() > before);
    let newest = drills().remove(0);
    assert_eq!(newest["passed"], false, "{newest}");
    assert!(newest["drill"]["failed"].as_str().unwrap().contains(".ltx"), "{newest}");
}

pub fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let items = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn an_erased_organization_is_not_in_what_comes_back_and_no_key_of_it_is() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let (gone, stays) = (world.organization("gone", "enterprise"), world.organization("stays", "enterprise"));
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let index = count(&gone).max(count(&stays));
    await_images(&platform, "one", index);
    await_archived(&platform, "one", index);
    let erased =
        platform.post(&format!("/api/v2/organizations/{}/erase", gone.id), &json!({ "slug": "gone" }));
    assert!(erased.status < 300, "{}", erased.body);
    let holds = |text: &str| {
        let vaults: Vec<_> =
            walk(bucket.path()).into_iter().filter(|path| path.ends_with("vault.json")).collect();
        vaults.iter().any(|vault| fs::read_to_string(vault).unwrap().contains(text))
    };
    await_condition("its keys to leave the vault", SOON, || !holds(&gone.id));
    assert!(holds(&stays.id));
    drop(world);
    // To before it was erased, too.
    let world = revive(bucket.path(), &key, &["--index", &index.to_string()]);
    let caller = world.anonymous();
    assert_eq!(used(&caller.with_token(stays.admin.token()), &stays), 1);
    assert_ne!(caller.with_token(gone.admin.token()).get(&gone.path("/stats")).status, 200);
}

#[test]
fn a_backup_is_carried_in_one_file() {
    let place = tempfile::tempdir().unwrap();
    let (bucket, carried, unpacked) =
        (place.path().join("b"), place.path().join("c.tar"), place.path().join("u"));
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let org = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", &bucket).unwrap();
    let index = count(&org);
    await_images(&platform, "one", index);
    let last = count(&org);
    await_archived(&platform, "one", last);
    drop(world);
    let file = place.path().join("key");
    fs::write(&file, &key).unwrap();
    let run = |args: &[&str]| Command::new(BINARY).arg("backup").args(args).output().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (bucket, carried, unpacked, file) = (text(&bucket), text(&carried), text(&unpacked), text(&file));
    let export = ["export", &carried, "--from", &bucket, "--recovery-key-file", &file];
    let exported = run(&export);
    assert!(exported.status.success(), "{}", said(&exported));
    assert!(!run(&export).status.success(), "never over a file");
    let import = ["import", &carried, "--to", &unpacked];
    let imported = run(&import);
    assert!(imported.status.success(), "{}", said(&imported));
    assert!(said(&run(&import)).contains("is not empty"));
    let world = revive(Path::new(&unpacked), &key, &[]);
    assert_eq!(used(&world.anonymous().with_token(org.admin.token()), &org), 2);
}

#[test]
fn an_effect_that_was_on_its_way_between_files_arrives_once_after_a_restore() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let first = world.organization("first", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let before = count(&first);
    // The registry is the system file's, everything else is in a file of its own, which an effect of the first makes.
    let second = world.organization("second", "enterprise");
    let after = count(&second);
    await_archived(&platform, "one", after);
    let lineage = platform.get(STATUS).json["lineage"].as_str().unwrap().to_owned();
    drop(world);
    let mut registered = 0;
    for index in before + 1..after {
        let named = ["--lineage", &lineage, "--index", &index.to_string()];
        let world = revive(bucket.path(), &key, &named);
        let caller = world.anonymous();
        let platform = caller.with_token(platform.token());
        if platform.get(&format!("/api/v2/organizations/{}", second.id)).status != 200 {
            continue;
        }
        registered += 1;
        // Whether or not the effect had arrived by then, there is one organization and one administrator in it.
        let admin = || {
            let body = json!({ "email": "admin@second.test", "password": "correct horse battery staple", "organization": "second" });
            caller.post("/api/v2/auth/login", &body)
        };
        await_condition("the organization to be there", SOON, || admin().status == 200);
        let revived = Organization {
            admin: caller.log_in("admin@second.test", "correct horse battery staple", "second"),
            ..second.clone()
        };
        let users = revived.admin.get(&revived.path("/users"));
        assert_eq!(users.json["data"].as_array().unwrap().len(), 1, "at {index}: {}", users.body);
        let listed = platform.get("/api/v2/organizations").json["data"].as_array().unwrap().clone();
        assert_eq!(listed.iter().filter(|org| org["slug"] == "second").count(), 1, "at {index}");
        count(&revived);
        assert_eq!(used(&revived.admin, &revived), 1);
    }
    assert!(registered >= 2, "before and after the effect arrived: {registered} of {before} to {after}");
}
