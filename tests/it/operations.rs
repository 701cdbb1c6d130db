//! What an operator sees and does on a running cluster: metrics, status, certificates, dead nodes.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{
    Answer, BINARY, Caller, Demo, Organization, World, await_condition, create_organization, free_port,
};

/// `threatflow cluster …` at one node.
fn cluster(demo: &Demo, at: usize, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(BINARY);
    command.arg("cluster").args(words).args(["--server", &demo.urls[at]]);
    let output = command.arg("--password-file").arg(&demo.password_file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

fn done(demo: &Demo, at: usize, words: &[&str]) -> String {
    let (done, text) = cluster(demo, at, words);
    assert!(done, "cluster {words:?}: {text}");
    text
}

/// The value of a sample, by its whole name with labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn metrics_are_families_with_help_and_type_and_name_no_tenant() {
    let world = World::one_node();
    let org = world.organization("secretive", "enterprise");
    org.admin.post(&org.path("/usage"), &json!({ "resource": "max_cases", "amount": 1 }));
    assert_eq!(org.admin.get("/api/v2/nowhere").status, 404);
    let answer = world.anonymous().get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = answer.body;
    let mut known = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let family = rest.split(' ').next().unwrap();
            assert!(page.contains(&format!("# HELP {family} ")), "{family} has no help");
            assert!(known.insert(family), "{family} comes twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let bare = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            assert!(known.contains(name) || bare.is_some_and(|name| known.contains(name)), "{line}");
            assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
        }
    }
    for tenant in ["secretive", org.id.as_str()] {
        assert!(!page.contains(tenant), "{tenant} is named");
    }
    let usage = r#"{method="POST",route="/api/v2/organizations/{org}/usage""#;
    for (name, least) in [
        ("threatflow_raft_is_leader", 1.0),
        ("threatflow_organizations", 1.0),
        ("threatflow_log_fsyncs_total", 1.0),
        ("threatflow_log_fsync_seconds_total", 0.000_001),
        ("threatflow_applied_entries_total", 4.0),
        ("process_open_fds", 10.0),
        ("process_resident_memory_bytes", 1e6),
        (r#"threatflow_raft_index{of="applied"}"#, 4.0),
        (r#"threatflow_proposals_total{outcome="done"}"#, 4.0),
        (r#"threatflow_disk_bytes{of="total"}"#, 1e6),
        (r#"threatflow_certificate_expiry_seconds{of="node"}"#, 300.0 * 86_400.0),
        (r#"threatflow_certificate_expiry_seconds{of="authority"}"#, 3_000.0 * 86_400.0),
        (&format!(r#"threatflow_http_requests_total{usage},class="2xx"}}"#), 1.0),
        (&format!(r#"threatflow_http_request_seconds_bucket{usage},le="+Inf"}}"#), 1.0),
        (r#"threatflow_http_requests_total{method="",route="unmatched",class="4xx"}"#, 1.0),
    ] {
        let value = sample(&page, name);
        assert!(value.is_some_and(|value| value >= least), "{name} is {value:?} in\n{page}");
    }
}

/// A node whose API everybody may reach.
struct Exposed {
    _folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Exposed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_listener_that_others_reach_tells_less_and_the_management_listener_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, peer, management) = (free_port(), free_port(), free_port());
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--data-dir").arg(folder.path());
    command.args(["--listen", &format!("0.0.0.0:{listen}"), "--peer-listen", &format!("127.0.0.1:{peer}")]);
    command.env("THREATFLOW_MANAGEMENT_LISTEN", format!("127.0.0.1:{management}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let node = Exposed { child: command.spawn().unwrap(), _folder: folder };
    let (open, own) = (
        Caller::new(&format!("http://127.0.0.1:{listen}")),
        Caller::new(&format!("http://127.0.0.1:{management}")),
    );
    await_condition("the node to be ready", Duration::from_secs(30), || {
        open.try_get("/readyz").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(open.get("/metrics").status, 404);
    for path in ["/livez?verbose", "/readyz?verbose", "/healthz?verbose", "/version?verbose"] {
        let plain = open.get(path);
        assert!(plain.status == 200 && plain.json == Value::Null, "{path}: {}", plain.body);
        let told = own.get(path);
        assert!(told.status == 200 && told.json.is_object(), "{path}: {}", told.body);
    }
    assert!(own.get("/readyz?verbose").json["warnings"].is_array());
    assert!(own.get("/metrics").body.contains("threatflow_raft_term"));
    assert_eq!(own.get("/api/v2/openapi.json").status, 404, "it serves nothing else");
    drop(node);
}

#[test]
fn the_status_says_how_every_node_is() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let here = platform.at(&demo.urls[demo.leader(&platform)]);
    let mut status = Answer { status: 0, headers: Vec::new(), body: String::new(), json: Value::Null };
    await_condition("everybody to have all and to have answered", Duration::from_secs(20), || {
        status = here.get("/api/v2/cluster");
        let members = status.json["members"].as_array().cloned().unwrap_or_default();
        members.iter().all(|member| member["lag"] == 0 && member["about"]["checkpoint_age_ms"].is_u64())
    });
    assert_eq!(status.json["authority"]["step"], "settled");
    for member in status.json["members"].as_array().unwrap() {
        let about = &member["about"];
        assert!(member["lag_ms"].is_u64() && member["last_ack_ms"].is_u64(), "{member}");
        assert!(about["sqlite_version"].as_str().is_some_and(|version| version.starts_with("3.")), "{about}");
        for positive in [
            "level_max",
            "uptime_ms",
            "disk_free_bytes",
            "disk_total_bytes",
            "log_bytes",
            "log_segments",
            "files",
        ] {
            assert!(about[positive].as_u64().is_some_and(|value| value > 0), "{positive}: {about}");
        }
        for positive in ["open_connections", "open_files", "resident_bytes", "applied_index"] {
            assert!(about[positive].as_u64().is_some_and(|value| value > 0), "{positive}: {about}");
        }
        assert_eq!(about["trusted"], json!([status.json["authority"]["fingerprint"]]));
        assert!(about["certificate_expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{about}");
    }
    let table = done(&demo, 0, &["status"]);
    assert!(table.contains("disk free") && table.contains("authority "), "{table}");
}

/// Writes at one node until told to end: every answer must be 200.
fn load(
    org: &Organization,
    url: &str,
    stop: &Arc<AtomicBool>,
    written: &Arc<AtomicUsize>,
) -> std::thread::JoinHandle<Vec<String>> {
    let (caller, path) = (org.admin.at(url), org.path("/usage"));
    let (stop, written) = (stop.clone(), written.clone());
    std::thread::spawn(move || {
        let mut failed = Vec::new();
        let body = br#"{"resource":"max_cases","amount":1}"#;
        while !stop.load(Ordering::SeqCst) {
            match caller.send("POST", &path, Some(body), &[]) {
                Some(answer) if answer.status == 200 => drop(written.fetch_add(1, Ordering::SeqCst)),
                Some(answer) => failed.push(answer.body),
                None => failed.push("no answer".to_owned()),
            }
        }
        failed
    })
}

#[test]
fn the_authority_is_rotated_under_load_without_a_failed_write() {
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let loads: Vec<_> = demo.urls.iter().map(|url| load(&org, url, &stop, &written)).collect();
    let authority = || platform.get("/api/v2/cluster").json["authority"].clone();
    let (before, early) = (authority(), done(&demo, 0, &["token"]));
    let goes_on = |what: &str| {
        let seen = written.load(Ordering::SeqCst);
        await_condition(what, Duration::from_secs(30), || {
            written.load(Ordering::SeqCst) > seen + 20 || loads.iter().any(|load| load.is_finished())
        });
    };
    goes_on("writes before the rotation");
    let said = done(&demo, 1, &["rotate-ca", "--wait", "90"]);
    assert!(said.contains("is in force"), "{said}");
    goes_on("writes after the rotation");
    let said = done(&demo, 2, &["rotate-certificates"]);
    assert_eq!(said.matches(": until ").count(), 3, "{said}");
    goes_on("writes after fresh certificates");
    stop.store(true, Ordering::SeqCst);
    let failed: Vec<String> = loads.into_iter().flat_map(|load| load.join().unwrap()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let count = org.admin.get(&org.path("/stats")).json["usage"]["active_cases"].as_u64();
    assert_eq!(count, Some(written.load(Ordering::SeqCst) as u64), "every write counts once");

    let after = authority();
    assert_ne!(after["fingerprint"], before["fingerprint"]);
    assert_eq!((&after["step"], &after["waiting_for"]), (&json!("settled"), &json!([])));
    // What was minted before names an authority that nobody shows any more.
    let folder = tempfile::tempdir().unwrap();
    let mut late = Command::new(BINARY);
    late.args(["serve", "--node-id", "4", "--join", early.trim()]).arg("--data-dir").arg(folder.path());
    late.args(["--listen", &format!("127.0.0.1:{}", free_port())]);
    late.args(["--peer-listen", &format!("127.0.0.1:{}", free_port())]);
    let refused = late.stdin(Stdio::null()).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("was rotated since the token was made"), "{why}");
    let trail = platform.get("/api/v2/organizations/system/audit-events?action=membership.turn_authority");
    assert_eq!(trail.json["data"].as_array().map(Vec::len), Some(2), "{}", trail.body);
}

#[test]
fn a_node_that_is_down_keeps_a_rotation_until_it_is_back() {
    let demo = Demo::start(&["--no-respawn"]);
    let platform = demo.platform();
    let leader = demo.leader(&platform);
    let (dead, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let here = platform.at(&demo.urls[asked]);
    demo.kill(dead);
    await_condition("the dead node is missed", Duration::from_secs(20), || {
        here.get("/api/v2/cluster").json["members"][dead]["about"]["unknown"].is_string()
    });
    let (begun, why) = cluster(&demo, asked, &["rotate-ca", "--wait", "1"]);
    let advice = format!("threatflow cluster remove {}", dead + 1);
    assert!(!begun && why.contains("would be locked out") && why.contains(&advice), "{why}");
    // Once it is removed nobody waits for it.
    await_condition("the dead node may go", Duration::from_secs(20), || {
        cluster(&demo, asked, &["remove", &(dead + 1).to_string()]).0
    });
    assert!(done(&demo, asked, &["rotate-ca", "--wait", "60"]).contains("is in force"));
}

#[test]
fn a_voter_that_is_silent_for_too_long_is_removed_if_enough_stay() {
    let settings = [("THREATFLOW_DEAD_SERVER_CLEANUP_MS", "1500"), ("THREATFLOW_MIN_QUORUM", "2")];
    let demo = Demo::configured(&["--no-respawn"], &settings);
    let platform = demo.platform();
    let leader = demo.leader(&platform);
    let (dead, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let here = platform.at(&demo.urls[asked]);
    demo.kill(dead);
    let members = || here.get("/api/v2/cluster").json["members"].as_array().map_or(0, Vec::len);
    await_condition("the dead node is gone", Duration::from_secs(30), || members() == 2);
    let trail = here.get("/api/v2/organizations/system/audit-events?action=membership.request_change");
    let events = trail.json["data"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{}", trail.body);
    assert_eq!(events[0]["event"]["actor"]["kind"], "system", "{}", trail.body);
    assert_eq!(events[0]["event"]["resource"]["id"], json!((dead + 1).to_string()));
    // Another death would leave one voter, and two must stay.
    demo.kill(asked);
    let there = demo.caller(leader);
    let silence = format!("threatflow_raft_peer_silence_seconds{{peer=\"{}\"}}", asked + 1);
    await_condition("it was silent for longer than that", Duration::from_secs(30), || {
        // No quorum: what needs no credentials is what still answers.
        let page = there.get("/metrics").body;
        assert_eq!(sample(&page, "threatflow_raft_voters"), Some(2.0));
        sample(&page, &silence).is_some_and(|seconds| seconds > 3.0)
    });
}
