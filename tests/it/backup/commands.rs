//! Backups by the command line, as an operator has it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::{SOON, STATUS, await_archived, await_images, count, restore, said, target, walk};
use crate::harness::{BINARY, World, await_condition};

struct Desk<'a> {
    world: &'a World,
}

impl Desk<'_> {
    fn run(&self, words: &[&str]) -> Output {
        let folder = self.world.folder.path();
        Command::new(BINARY)
            .args(words)
            .args(["--server", &self.world.url, "--password-file"])
            .arg(folder.join("initial-admin-password"))
            .output()
            .unwrap()
    }

    fn must(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    }
}

fn key_in(told: &str) -> String {
    let key = told.split_whitespace().find(|word| word.starts_with("tfr1-"));
    key.unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[test]
fn a_target_is_made_changed_tried_and_stopped_and_what_no_flag_says_stays() {
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    fs::create_dir(&bucket).unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("acme", "enterprise"));
    let (desk, path) = (Desk { world: &world }, bucket.to_str().unwrap());
    let told =
        desk.must(&["backup", "to", "nas", path, "--bytes-per-second", "9000000", "--request-seconds", "7"]);
    let key = key_in(&told);
    let index = count(&org);
    await_archived(&platform, "nas", index);
    await_images(&platform, "nas", 1);
    let archived = || target(&platform, "nas")["archived_index"].as_u64().unwrap();
    let before = archived();
    let again = desk.must(&["backup", "to", "nas", path, "--connect-seconds", "3"]);
    assert!(!again.contains("tfr1-"), "the key is shown once: {again}");
    await_archived(&platform, "nas", before);
    assert_eq!(
        target(&platform, "nas")["settings"]["pace"],
        json!({ "bytes_per_second": 9_000_000, "connect_seconds": 3, "request_seconds": 7, "give_up_seconds": 120 })
    );
    let drilled = desk.must(&["backup", "drill"]);
    assert!(drilled.contains("files restored from nas") && drilled.contains("ms of writes"), "{drilled}");
    await_condition("no alarm", SOON, || desk.run(&["backup", "status"]).status.success());
    desk.must(&["backup", "stop", "nas"]);
    assert_eq!(platform.get(STATUS).json["targets"], json!([]));
    let stopped = desk.run(&["backup", "status"]);
    assert!(said(&stopped).contains("! nothing is backed up"), "{}", said(&stopped));

    // What an attempt that was cut short left beside the file is not in the way of the next one.
    let to = place.path().join("acme.db");
    let left = place.path().join("acme.db.threatflow-restore/tenants");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join(format!("{}.db", org.id)), "half of it").unwrap();
    let written = restore(&["organization", &org.id], &bucket, &key, &["--to", to.to_str().unwrap()]);
    assert!(written.status.success(), "{}", said(&written));
    assert!(to.exists() && !place.path().join("acme.db.threatflow-restore").exists());
}

fn holds(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn nothing_of_what_is_written_can_be_read_in_a_bucket() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let (platform, org) = (world.platform(), world.organization("plainslug", "enterprise"));
    super::begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let words = ["quicksilver investigation", "plainslug", "admin@plainslug.test"];
    let made = org.admin.post(&org.path("/investigations"), &json!({ "title": words[0] }));
    assert_eq!(made.status, 201, "{}", made.body);
    let index = count(&org);
    await_archived(&platform, "one", index);
    await_images(&platform, "one", index);
    let all = walk(bucket.path());
    let of = |folder: &str| all.iter().filter(|path| path.to_str().unwrap().contains(folder)).count();
    assert!(of("/log/") > 0 && of("/catalog/") > 0 && of(&format!("/files/{}/", org.id)) > 0, "{all:?}");
    for (path, word) in all.iter().flat_map(|path| words.map(|word| (path, word))) {
        assert!(!holds(path, word), "{word:?} stands in {}", path.display());
    }
    // They are what is stored, so that it is these that would be found.
    let listed: Value = org.admin.get(&org.path("/investigations")).json;
    assert!(listed.to_string().contains(words[0]), "{listed}");
}
