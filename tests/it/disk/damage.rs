//! A lone node whose files were deleted, cut, flipped or exchanged while it was down: it refuses with one
//! line, or repairs; it never answers wrongly; and what the line says helps.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use super::{load::count_at, nodes::Node};
use crate::harness::{Caller, Organization, await_condition, create_organization};

/// What is to be expected of a node whose files were harmed.
enum Then {
    /// It ends with this code and a line that holds these parts.
    Refuses(i32, &'static [&'static str]),
    /// As above, or it goes on and answers nothing about the organization: whoever can copy the file from
    /// another node need not stop.
    RefusesOrKeepsSilent(&'static [&'static str]),
    /// It has everything, as if nothing had been.
    Repairs,
}

struct Case {
    what: &'static str,
    harm: fn(&Files),
    then: Then,
    /// What the line says to do; `put_back` where nothing else helps a lone node. It then has everything.
    cure: Option<fn(&Files)>,
}

/// Where the files of the node under test lie, and those that were not harmed.
struct Files {
    data: PathBuf,
    sound: PathBuf,
    org: String,
}

impl Files {
    fn segment(&self, number: u32) -> PathBuf {
        self.data.join(format!("raft/log/{number:016x}.log"))
    }

    fn tenant(&self, ending: &str) -> PathBuf {
        self.data.join(format!("store/tenants/{}.{ending}", self.org))
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.data.join(path)).unwrap();
    }

    fn put_back(&self) {
        if self.data.exists() {
            fs::remove_dir_all(&self.data).unwrap();
        }
        copy(&self.sound, &self.data);
    }
}

/// Flips a bit at `from` and at each `step` behind.
fn flip(path: &Path, from: usize, step: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(from).step_by(step).for_each(|byte| *byte ^= 4);
    fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    // Segments are mostly zeros.
    let done = Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status().unwrap();
    assert!(done.success());
}

const DAMAGED: &[&str] =
    &["log segment 0000000000000002.log is damaged at byte", "remove it from the cluster"];
const LOST_END: &[&str] =
    &["frame", "was durable: the end of the log is missing", "remove it from the cluster"];
const NOBODY: &[&str] = &["is there, but nothing in", "put back what is missing"];

const CASES: &[Case] = &[
    Case {
        what: "a segment in the middle of the log was cut",
        harm: |files| {
            let file = fs::OpenOptions::new().write(true).open(files.segment(2)).unwrap();
            let size = file.metadata().unwrap().len();
            file.set_len(4096 + (size - 4096) / 2).unwrap();
        },
        then: Then::Refuses(70, DAMAGED),
        cure: Some(Files::put_back),
    },
    Case {
        what: "a bit in the middle of the log was flipped",
        harm: |files| flip(&files.segment(2), 4196, usize::MAX),
        then: Then::Refuses(70, DAMAGED),
        cure: Some(Files::put_back),
    },
    Case {
        what: "a segment in the middle of the log was deleted",
        harm: |files| fs::remove_file(files.segment(2)).unwrap(),
        then: Then::Refuses(70, &["log segments are missing between", "put back this disk"]),
        cure: Some(|files| {
            fs::copy(files.sound.join("raft/log/0000000000000002.log"), files.segment(2)).unwrap();
        }),
    },
    Case {
        what: "the oldest segment was deleted",
        harm: |files| fs::remove_file(files.segment(1)).unwrap(),
        then: Then::Refuses(70, &["oldest segments are missing", "put back this disk"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "the newest segment was deleted",
        harm: |files| fs::remove_file(files.segment(3)).unwrap(),
        then: Then::Refuses(70, LOST_END),
        cure: Some(|files| {
            let segment = "raft/log/0000000000000003.log";
            fs::copy(files.sound.join(segment), files.data.join(segment)).unwrap();
        }),
    },
    Case {
        what: "the record of what is durable in the log was deleted, and nothing else",
        harm: |files| files.remove("raft/log/durable"),
        then: Then::Repairs,
        cure: None,
    },
    Case {
        what: "the newest segment and that record were deleted, and the files are ahead of what is left",
        harm: |files| {
            fs::remove_file(files.segment(3)).unwrap();
            files.remove("raft/log/durable");
        },
        then: Then::Refuses(70, &["the log ends at entry", "put back what is missing"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "the checkpoint record was deleted: the log is replayed from its beginning",
        harm: |files| files.remove("raft/checkpoint"),
        then: Then::Repairs,
        cure: None,
    },
    Case {
        what: "a bit of the checkpoint record was flipped",
        harm: |files| flip(&files.data.join("raft/checkpoint"), 9, usize::MAX),
        then: Then::Refuses(70, &["raft/checkpoint is damaged", "put back what is missing"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "an organization's file was deleted",
        harm: |files| fs::remove_file(files.tenant("db")).unwrap(),
        then: Then::RefusesOrKeepsSilent(&["store/tenants/", ".db"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "a bit in each page of an organization's file was flipped",
        harm: |files| {
            let _ = fs::remove_file(files.tenant("db-wal"));
            flip(&files.tenant("db"), 1000, 4096);
        },
        then: Then::RefusesOrKeepsSilent(&["store/tenants/", ".db"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "an organization's key was deleted",
        harm: |files| fs::remove_file(files.tenant("key")).unwrap(),
        then: Then::RefusesOrKeepsSilent(&["key"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "the system file was deleted",
        harm: |files| files.remove("store/system.db"),
        then: Then::RefusesOrKeepsSilent(&["store/system.db"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "the marks were deleted: each file says its own",
        harm: |files| files.remove("store/marks.json"),
        then: Then::Repairs,
        cure: None,
    },
    Case {
        what: "the marks were damaged",
        harm: |files| fs::write(files.data.join("store/marks.json"), "{\"01").unwrap(),
        then: Then::Refuses(70, &["store/marks.json", "remove it"]),
        cure: Some(|files| files.remove("store/marks.json")),
    },
    Case {
        what: "the note of an installation was damaged",
        harm: |files| fs::write(files.data.join("store/install.json"), "{\"take\":").unwrap(),
        then: Then::Refuses(70, &["store/install.json", "join it under a new number"]),
        cure: Some(Files::put_back),
    },
    Case {
        what: "the keyring was deleted",
        harm: |files| files.remove("cluster.key"),
        then: Then::Refuses(1, &["cluster.key is missing", "restore it from a copy"]),
        cure: Some(|files| {
            fs::copy(files.sound.join("cluster.key"), files.data.join("cluster.key")).unwrap();
        }),
    },
    Case {
        what: "the keyring of another cluster was put there",
        harm: |files| {
            let mut other = Node::new(&files.data, 1);
            other.start(None);
            other.await_ready();
            fs::copy(other.data.join("cluster.key"), files.data.join("cluster.key")).unwrap();
        },
        then: Then::RefusesOrKeepsSilent(&["key"]),
        cure: Some(|files| {
            fs::copy(files.sound.join("cluster.key"), files.data.join("cluster.key")).unwrap();
        }),
    },
    Case {
        what: "the authority was deleted: nothing new is founded over the data",
        harm: |files| files.remove("raft/pki/authority"),
        then: Then::Refuses(1, NOBODY),
        cure: Some(|files| {
            let path = "raft/pki/authority";
            fs::copy(files.sound.join(path), files.data.join(path)).unwrap();
        }),
    },
    Case {
        what: "a bit of the authority was flipped",
        harm: |files| flip(&files.data.join("raft/pki/authority"), 60, usize::MAX),
        then: Then::Refuses(70, &["raft/pki/authority is damaged", "put back a copy of it"]),
        cure: Some(|files| {
            let path = "raft/pki/authority";
            fs::copy(files.sound.join(path), files.data.join(path)).unwrap();
        }),
    },
    Case {
        what: "the folder of the log was deleted",
        harm: |files| fs::remove_dir_all(files.data.join("raft")).unwrap(),
        then: Then::Refuses(1, NOBODY),
        cure: Some(Files::put_back),
    },
];

#[test]
fn a_lone_node_with_harmed_files_refuses_or_repairs_and_never_answers_wrongly() {
    let quick = std::env::var_os("TF_TEST_QUICK").is_some();
    let root = tempfile::tempdir().unwrap();
    let mut world = Harmed::prepare(root.path(), 500);
    let sound = world.kept;
    for case in CASES.iter().step_by(if quick { 5 } else { 1 }) {
        println!("{}", case.what);
        world.files.put_back();
        world.kept = sound;
        (case.harm)(&world.files);
        world.node.start(None);
        match case.then {
            Then::Repairs => world.assert_whole(),
            Then::Refuses(code, parts) => world.assert_refuses(code, parts),
            Then::RefusesOrKeepsSilent(parts) => world.assert_refuses_or_keeps_silent(parts),
        }
        world.node.kill();
        if let Some(cure) = case.cure {
            cure(&world.files);
            world.node.start(None);
            world.assert_whole();
            world.node.kill();
        }
    }
}

/// No checkpoint tells that the log was longer, nor the record beside it (of an older version, say). The files do, as
/// soon as an entry comes that they have.
#[test]
fn a_log_whose_end_is_gone_is_found_out_before_a_write_is_lost_in_it() {
    let root = tempfile::tempdir().unwrap();
    let mut world = Harmed::prepare(root.path(), 600_000);
    world.files.put_back();
    fs::remove_file(world.files.segment(3)).unwrap();
    world.node.start(None);
    world.node.await_fault(LOST_END);
    world.files.remove("raft/log/durable");
    world.node.start(None);
    world.node.await_ready();
    assert_eq!(world.count(), Some(world.kept), "the files have everything");
    await_condition("a write to be refused", super::nodes::STOPS_WITHIN, || {
        let answer = world.write();
        assert!(answer.is_none_or(|status| status >= 500), "{answer:?}: a write was taken and lost");
        !world.node.running()
    });
    world.node.await_fault(&["the end of the log is missing", "put back what is missing"]);
    world.files.put_back();
    world.node.start(None);
    world.assert_whole();
}

/// A node with three segments of log, stopped.
struct Harmed {
    node: Node,
    files: Files,
    platform: Caller,
    org: Organization,
    kept: i64,
}

impl Harmed {
    fn prepare(root: &Path, checkpoint_ms: u32) -> Self {
        let mut node = Node::new(root, 1);
        node.checkpoint_ms = checkpoint_ms;
        node.start(None);
        node.await_ready();
        let password = fs::read_to_string(node.data.join("initial-admin-password")).unwrap();
        let platform = node.caller().log_in("admin@localhost", password.trim(), "system");
        let org = create_organization(&platform, "acme", "enterprise", None);
        let files = Files { data: node.data.clone(), sound: root.join("sound"), org: org.id.clone() };
        let mut world = Self { node, files, platform, org, kept: 0 };
        for segment in 1..=3 {
            for _ in 0..20 {
                assert_eq!(world.write(), Some(200));
                world.kept += 1;
            }
            if checkpoint_ms < 1_000 {
                assert_eq!(world.platform.post("/api/v2/cluster/snapshot", &json!({})).status, 200);
                world.node.stop();
            } else {
                // Who reads waits until the files have it.
                assert_eq!(world.count(), Some(world.kept));
                world.node.kill();
            }
            if segment < 3 {
                world.node.start(None);
                world.node.await_ready();
            }
        }
        fs::rename(&world.files.data, &world.files.sound).unwrap();
        world
    }

    fn write(&self) -> Option<u16> {
        let body = json!({ "resource": "max_cases", "amount": 1 }).to_string();
        let answer = self.platform.send("POST", &self.org.path("/usage"), Some(body.as_bytes()), &[]);
        answer.map(|answer| answer.status)
    }

    fn count(&self) -> Option<i64> {
        count_at(&self.node.url, &self.platform, &self.org)
    }

    /// It has all that was kept, and takes one more write.
    fn assert_whole(&mut self) {
        self.node.await_ready();
        assert_eq!(self.count(), Some(self.kept));
        assert_eq!(self.write(), Some(200));
        self.kept += 1;
        assert_eq!(self.count(), Some(self.kept));
    }

    /// It may answer until it finds out, but nothing wrong.
    fn assert_refuses(&mut self, code: i32, parts: &[&str]) {
        await_condition("the node to refuse", super::nodes::STOPS_WITHIN, || {
            let count = self.count();
            assert!(count.is_none() || count == Some(self.kept), "{count:?}");
            !self.node.running()
        });
        let (found, line) = self.node.await_end();
        println!("  {found}: {line}");
        assert_eq!(found, code, "{line}");
        for part in parts {
            assert!(line.contains(part), "no {part:?} in: {line}");
        }
    }

    fn assert_refuses_or_keeps_silent(&mut self, parts: &[&str]) {
        let mut silent = 0;
        await_condition("the node to refuse", super::nodes::STOPS_WITHIN, || {
            let count = self.count();
            assert!(count.is_none() || count == Some(self.kept), "{count:?}");
            assert!(self.write().is_none_or(|status| status >= 500));
            let up = self.node.caller().try_get("/livez").is_some_and(|answer| answer.status == 200);
            silent += i32::from(up && count.is_none());
            silent > 50 || !self.node.running()
        });
        if !self.node.running() {
            self.assert_refuses(70, parts);
        }
    }
}
