//! The private key of the cluster's authority: sealed wherever it lies, whatever changes and whoever is killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use threatflow::{kernel::to_hex, store::generation_of};

use super::{await_settled, holds, keyring_in, places};
use crate::harness::{BINARY, Caller, Demo, World, await_condition, free_port};

const SEALED: &[u8] = b"threatflow-sealed/1\n";

/// What lies in a node's data folder: under which cluster key, and the authority as it was before it was sealed.
fn opened(data: &Path) -> (u32, Vec<u8>) {
    let bytes = fs::read(file(data)).unwrap();
    let sealed = bytes.strip_prefix(SEALED).expect("it is sealed");
    (generation_of(sealed).unwrap(), raft::Safe::open(&keyring_in(data), sealed).unwrap())
}

fn file(data: &Path) -> PathBuf {
    data.join("raft/pki/authority")
}

/// The forms in which the private key must not be seen: DER (PKCS#8), the bare number, and that in hexadecimal.
fn forms(authority: &[u8]) -> [Vec<u8>; 3] {
    let find = |part: &[u8]| authority.windows(part.len()).rposition(|window| window == part).unwrap();
    let der = find(&[2, 1, 0, 0x30, 0x13]) - 3;
    let number = find(&[2, 1, 1, 4, 32]) + 5;
    assert_eq!(authority[der..der + 2], [0x30, 0x81]);
    let length = usize::from(authority[der + 2]);
    let number = authority[number..number + 32].to_vec();
    [authority[der..][..3 + length].to_vec(), number.clone(), to_hex(&number).into_bytes()]
}

fn assert_unseen(folder: &Path, keys: &[[Vec<u8>; 3]]) {
    for form in keys.iter().flatten() {
        assert_eq!(places(folder, |bytes| holds(bytes, form)), Vec::<String>::new());
    }
}

#[test]
fn the_authority_s_key_lies_nowhere_in_the_clear_while_authority_and_cluster_key_change_and_nodes_are_killed()
{
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let (folder, data) = (demo.folder.path(), |node: u64| demo.folder.path().join(format!("node-{node}")));
    let (generation, first) = opened(&data(1));
    assert_eq!(generation, 1);
    for node in 2..=3 {
        assert_eq!(opened(&data(node)), (1, first.clone()), "node {node} joined");
    }
    let mut keys = vec![forms(&first)];
    assert_unseen(folder, &keys);

    let begun = platform.post("/api/v2/cluster/authority/rotate", &json!({}));
    assert_eq!(begun.status, 200, "{}", begun.body);
    demo.kill(1);
    await_condition("the new authority to be the only one", Duration::from_secs(90), || {
        let Some(status) = platform.try_get("/api/v2/cluster") else { return false };
        let authority = &status.json["authority"];
        authority["step"] == "settled" && authority["fingerprint"] == begun.json["authority"]["fingerprint"]
    });
    let second = opened(&data(1)).1;
    assert_ne!(first, second);
    keys.push(forms(&second));
    assert_unseen(folder, &keys);

    assert_eq!(platform.post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
    demo.kill(2);
    await_settled(&platform, 2);
    for node in 1..=3 {
        assert_eq!(
            opened(&data(node)),
            (2, second.clone()),
            "node {node}, which has only the new cluster key"
        );
        let bytes = fs::read(file(&data(node))).unwrap();
        let elsewhere = raft::Safe::open(&keyring_in(&data(node % 3 + 1)), &bytes[SEALED.len()..]);
        assert_eq!(elsewhere.unwrap(), second, "it can take the place of another member's");
    }
    assert_unseen(folder, &keys);
    for node in 0..3 {
        demo.kill(node);
    }
    demo.await_all_ready();
    // The scan sees what is there to be seen.
    fs::write(folder.join("seen"), [second.as_slice(), &keys[1][2]].concat()).unwrap();
    for form in &keys[1] {
        assert_eq!(places(folder, |bytes| holds(bytes, form)).len(), 1);
    }
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_a_rotation_seals_anew_and_forgets_at_its_next_start() {
    let mut world = World::one_node();
    let data = world.folder.path().to_owned();
    let held = || keyring_in(&data).generations().into_keys().collect::<Vec<_>>();
    let (before, authority) = (keyring_in(&data), fs::read(file(&data)).unwrap());
    assert_eq!(world.platform().post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
    let settled = || held() == [2];
    await_condition("the rotation to settle", Duration::from_secs(60), settled);
    // What a kill leaves between the new key's first use and the end of the old one.
    let both = keyring_in(&data);
    both.learn(1, before.raw(1).unwrap()).unwrap();
    let text =
        json!({ "format": 1, "seal": "data_dir", "keyring": to_hex(&both.bundle().unwrap()) }).to_string();
    fs::write(data.join("cluster.key"), text).unwrap();
    fs::write(file(&data), &authority).unwrap();
    assert_eq!((held(), opened(&data).0), (vec![1, 2], 1));
    world.crash_and_restart();
    await_condition("the old key to be forgotten", Duration::from_secs(30), settled);
    assert_eq!(opened(&data).0, 2);
    world.crash_and_restart();
}

/// A second node of a world, in a folder of its own.
fn joining(data: &Path, ports: [u16; 2], token: &str) -> Child {
    let [listen, peer] = ports.map(|port| format!("127.0.0.1:{port}"));
    let mut command = Command::new(BINARY);
    command.args(["serve", "--node-id", "2", "--listen", &listen, "--peer-listen", &peer, "--join", token]);
    command.arg("--data-dir").arg(data).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(data.with_extension("said")).unwrap()).spawn().unwrap()
}

#[test]
fn a_join_that_is_killed_with_the_keyring_in_hand_is_done_over() {
    let world = World::one_node();
    let token = world.platform().post("/api/v2/cluster/join-tokens", &json!({})).json["token"].clone();
    let token = token.as_str().unwrap();
    let place = tempfile::tempdir().unwrap();
    let (data, ports) = (place.path().join("node-2"), [free_port(), free_port()]);
    let mut cut_short = joining(&data, ports, token);
    await_condition("the keyring to be there", Duration::from_secs(30), || data.join("cluster.key").exists());
    cut_short.kill().unwrap();
    cut_short.wait().unwrap();
    // What a kill between the two steps leaves, if this one came later.
    if data.join("unfinished").exists() {
        let _ = fs::remove_dir_all(data.join("raft"));
    }
    let mut again = joining(&data, ports, token);
    let caller = Caller::new(&format!("http://127.0.0.1:{}", ports[0]));
    await_condition("it to serve", Duration::from_secs(40), || {
        assert!(
            again.try_wait().unwrap().is_none(),
            "{}",
            fs::read_to_string(data.with_extension("said")).unwrap()
        );
        caller.try_get("/readyz").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(opened(&data), opened(world.folder.path()));
    again.kill().unwrap();
    again.wait().unwrap();
}

#[test]
fn an_authority_that_lay_open_is_warned_of_sealed_at_the_start_and_named_when_it_is_damaged() {
    let mut world = World::one_node();
    let data = world.folder.path().to_owned();
    let doctor = || {
        let looked = Command::new(BINARY).args(["doctor", "--data-dir"]).arg(&data).output().unwrap();
        (looked.status.success(), String::from_utf8(looked.stderr).unwrap())
    };
    let (plain, warning) = (opened(&data).1, "lay unsealed in the data folder and is sealed now");
    let said = || fs::read_to_string(data.join("stderr.log")).unwrap();
    assert!(doctor().1.contains("good    authority: its key is sealed"), "{}", doctor().1);
    assert!(!said().contains(warning));
    // What a build before left.
    fs::write(file(&data), &plain).unwrap();
    assert!(doctor().1.contains("WARNING authority: its key lies open"), "{}", doctor().1);
    assert_eq!(places(&data, |bytes| holds(bytes, &forms(&plain)[1])).len(), 1);
    world.crash_and_restart();
    world.crash_and_restart();
    assert_eq!(opened(&data).1, plain);
    assert_unseen(&data, &[forms(&plain)]);
    assert_eq!(said().matches(warning).count(), 1, "{}", said());

    let mut bytes = fs::read(file(&data)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file(&data), bytes).unwrap();
    let (well, found) = doctor();
    let line = found
        .lines()
        .find(|line| line.starts_with("WRONG   authority: "))
        .unwrap_or_else(|| panic!("{found}"));
    assert!(
        !well && line.contains("raft/pki/authority is damaged") && line.contains("put back a copy"),
        "{line}"
    );
}
