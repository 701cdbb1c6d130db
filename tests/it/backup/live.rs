//! One organization brought back while the cluster serves.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};
use threatflow::features::audit::model::{CHAIN_START, chain_after};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{SOON, STATUS, await_archived, await_images, begin, count, revive, said, used};
use crate::{
    factors::enrol_app,
    harness::{
        Answer, BINARY, Caller, Demo, Organization, World, await_condition, code, code_of,
        create_organization, pointers,
    },
};

const PASSWORD: &str = "correct horse battery staple";

/// Opens an investigation; answers the index of the entry.
pub fn investigate(org: &Organization, title: &str) -> u64 {
    index(&org.admin.post(&org.path("/investigations"), &json!({ "title": title })))
}

fn index(answer: &Answer) -> u64 {
    assert!(answer.status < 300, "{}", answer.body);
    answer.header("x-log-index").unwrap().parse().unwrap()
}

pub fn titles(caller: &Caller, org: &Organization) -> Vec<String> {
    let listed = caller.get(&org.path("/investigations"));
    assert_eq!(listed.status, 200, "{}", listed.body);
    let items = listed.json["data"].as_array().unwrap_or_else(|| panic!("{}", listed.body));
    let mut titles: Vec<String> =
        items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

fn log_in(caller: &Caller, name: &str, slug: &str) -> Answer {
    let body = json!({ "email": format!("{name}@acme.test"), "password": PASSWORD, "organization": slug });
    caller.without_token().post("/api/v2/auth/login", &body)
}

/// Asks for a restore, and waits until it is over.
fn bring_back(platform: &Caller, body: &Value) -> Value {
    let asked = platform.post(&format!("{STATUS}/restores"), body);
    assert_eq!(asked.status, 202, "{}", asked.body);
    let path = format!("{STATUS}/restores/{}", asked.json["id"].as_str().unwrap());
    let mut over = Value::Null;
    await_condition("the restore to be over", SOON * 2, || {
        over = platform.get(&path).json;
        over["state"] != "wanted"
    });
    over
}

/// Every file on every node, by content.
fn await_equal(demo: &Demo, platform: &Caller) {
    await_condition("all nodes to hold the same rows", SOON, || {
        let digests = demo.urls.iter().map(|url| {
            let answer = platform.at(url).try_get("/api/v2/cluster/digests")?;
            (answer.status == 200).then(|| answer.json["files"].clone())
        });
        let digests: Option<Vec<Value>> = digests.collect();
        digests.is_some_and(|all| all.iter().all(|one| *one == all[0]))
    });
}

fn alarms(platform: &Caller) -> usize {
    let status = platform.get("/api/v2/cluster").json;
    let members = status["members"].as_array().unwrap();
    members.iter().map(|member| member["about"]["alarms"].as_object().map_or(0, serde_json::Map::len)).sum()
}

/// What every event of a trail is about, oldest first; they must make one chain.
fn events(caller: &Caller, org: &Organization) -> Vec<String> {
    let listed = caller.get(&org.path("/audit-events?limit=200"));
    assert_eq!(listed.status, 200, "{}", listed.body);
    let mut chain = CHAIN_START;
    let mut actions = Vec::new();
    for (row, seq) in listed.json["data"].as_array().unwrap().iter().rev().zip(1..) {
        let leaf = serde_json_canonicalizer::to_string(&row["event"]).unwrap();
        chain = chain_after(&chain, leaf.as_bytes());
        assert_eq!((&row["event"]["seq"], &row["chain"]), (&json!(seq), &json!(to_hex(&chain))), "{row}");
        actions.push(row["event"]["action"].as_str().unwrap().to_owned());
    }
    actions
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn an_organization_goes_back_to_a_moment_on_every_node_while_others_go_on() {
    let bucket = tempfile::tempdir().unwrap();
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let (acme, other) = (
        create_organization(&platform, "acme", "enterprise", None),
        create_organization(&platform, "other", "enterprise", None),
    );
    let key = begin(&platform, "one", bucket.path()).unwrap();
    let kept = acme.member("kept", "analyst");
    let gone = acme.member("gone", "analyst");
    let gone_id = gone.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    await_images(&platform, "one", 1);
    let then = investigate(&acme, "before");
    // What is taken back, and what is not.
    let deleted = acme.admin.send("DELETE", &acme.path(&format!("/users/{gone_id}")), None, &[]).unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.body);
    let counted = (0..3).map(|_| count(&acme)).max().unwrap();
    let changed = acme.admin.json("PATCH", &acme.path(""), &json!({ "name": "Acme & Co" }));
    assert_eq!(changed.status, 200, "{}", changed.body);
    let last = investigate(&acme, "after").max(counted);
    assert_eq!(titles(&kept, &acme), ["after", "before"]);
    let trail = events(&acme.admin, &acme);
    await_archived(&platform, "one", last);

    let over = bring_back(&platform, &json!({ "organization": acme.id, "index": then }));
    assert_eq!(over["state"], "done", "{over}");
    assert_eq!(over["restored"]["index"], then, "{over}");
    count(&other);
    assert_eq!(kept.get("/api/v2/auth/me").status, 401, "its sessions have ended");
    let log_in = |name: &str| {
        let body =
            json!({ "email": format!("{name}@acme.test"), "password": PASSWORD, "organization": "acme" });
        platform.without_token().post("/api/v2/auth/login", &body)
    };
    assert_eq!(log_in("gone").status, 401, "who was deleted stays deleted");
    assert_eq!(log_in("kept").status, 200);
    let admin = platform.without_token().log_in("admin@acme.test", PASSWORD, "acme");
    for url in &demo.urls {
        assert_eq!(titles(&admin.at(url), &acme), ["before"], "{url}");
    }
    assert_eq!(admin.get(&acme.path("")).json["name"], "Acme & Co", "what the registry was told stays");
    assert_eq!(used(&admin, &acme), 3, "what others reported is theirs to take back");
    // The trail goes on where it was, and says what was done.
    let now = events(&admin, &acme);
    assert_eq!(now[..trail.len()], trail[..]);
    assert_eq!(now[trail.len()], "backup.replace_content", "{now:?}");
    await_equal(&demo, &platform);
    assert_eq!(alarms(&platform), 0);

    // It can be written, and gone back on: there is one history.
    let acme = Organization { admin, ..acme };
    let newest = investigate(&acme, "later");
    await_archived(&platform, "one", newest);
    assert_eq!(bring_back(&platform, &json!({ "organization": acme.id, "index": last }))["state"], "done");
    let admin = platform.without_token().log_in("admin@acme.test", PASSWORD, "acme");
    assert_eq!(titles(&admin, &acme), ["after", "before"]);
    let acme = Organization { admin, ..acme };
    let end = investigate(&acme, "end");
    await_archived(&platform, "one", end);
    await_equal(&demo, &platform);
    drop(demo);
    // The whole cluster, to each of the moments: what took the place of the file is in the bucket, too.
    for (to, wanted) in [(newest, &["before", "later"][..]), (end, &["after", "before", "end"])] {
        let world = revive(bucket.path(), &key, &["--index", &to.to_string()]);
        let admin = world.anonymous().log_in("admin@acme.test", PASSWORD, "acme");
        assert_eq!(titles(&admin, &acme), wanted);
        events(&admin, &acme);
    }
}

#[test]
fn a_member_that_was_down_is_repaired_and_a_leader_that_dies_leaves_the_restore_to_the_next() {
    let bucket = tempfile::tempdir().unwrap();
    let demo = Demo::three_nodes();
    let platform = demo.platform();
    let acme = create_organization(&platform, "acme", "enterprise", None);
    begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let then = investigate(&acme, "before");
    let last = investigate(&acme, "after");
    await_archived(&platform, "one", last);
    let leader = demo.leader(&platform);
    let down = (0..3).find(|node| *node != leader).unwrap();
    let up = (0..3).find(|node| *node != leader && *node != down).unwrap();
    demo.signal(down, "-STOP");
    let at = platform.at(&demo.urls[up]);
    let over = bring_back(&at, &json!({ "organization": acme.id, "index": then }));
    assert_eq!(over["state"], "done", "{over}");
    demo.signal(down, "-CONT");
    demo.await_all_ready();
    await_equal(&demo, &at);
    await_condition("the repair", SOON, || alarms(&at) == 0);
    // Killed as soon as it has begun.
    let asked = at.post(&format!("{STATUS}/restores"), &json!({ "organization": acme.id, "index": last }));
    assert_eq!(asked.status, 202, "{}", asked.body);
    demo.kill(demo.leader(&at));
    let path = format!("{STATUS}/restores/{}", asked.json["id"].as_str().unwrap());
    await_condition("the restore to be over", SOON * 2, || {
        demo.urls
            .iter()
            .any(|url| at.at(url).try_get(&path).is_some_and(|answer| answer.json["state"] == "done"))
    });
    demo.await_all_ready();
    let admin = at.without_token().log_in("admin@acme.test", PASSWORD, "acme");
    assert_eq!(titles(&admin, &acme), ["after", "before"]);
    await_equal(&demo, &at);
}

#[test]
fn a_new_organization_holds_what_another_held_and_lets_in_who_could_come_in_then() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let acme = world.organization("acme", "enterprise");
    begin(&platform, "one", bucket.path()).unwrap();
    let gone = acme.member("gone", "analyst");
    let gone_id = gone.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let (secret, _) = enrol_app(&acme.member("amy", "analyst"), None);
    await_images(&platform, "one", 1);
    let then = investigate(&acme, "before");
    acme.admin.send("DELETE", &acme.path(&format!("/users/{gone_id}")), None, &[]).unwrap();
    let last = investigate(&acme, "after");
    await_archived(&platform, "one", last);
    let moment = then.to_string();
    let told = threatflow(
        &world,
        &["beside", &acme.id, "--slug", "then", "--domain", "then.test", "--index", &moment],
    );
    assert!(told.status.success(), "{}", said(&told));
    let made = platform.get("/api/v2/organizations?q=then").json["data"][0].clone();
    let copy = Organization {
        id: made["id"].as_str().unwrap().to_owned(),
        slug: "then".to_owned(),
        admin: world.anonymous().log_in("admin@acme.test", PASSWORD, "then"),
    };
    assert_eq!(titles(&copy.admin, &copy), ["before"]);
    assert_eq!(copy.admin.get(&copy.path("")).json["slug"], "then");
    assert_eq!(titles(&acme.admin, &acme), ["after", "before"], "the first one is as it was");
    assert_eq!(log_in(&platform, "gone", "then").status, 401);
    // Whose second factor was sealed for the first one shows it to the new one, and has to.
    let asked = log_in(&platform, "amy", "then");
    assert_eq!((asked.status, code(&asked)), (403, "mfa_required"), "{}", asked.body);
    let shown = json!({ "mfa_token": asked.json["mfa_token"], "code": code_of(&secret, 0) });
    assert_eq!(world.anonymous().post("/api/v2/auth/mfa", &shown).status, 200);
    // Its trail is its own, and names where its content came from.
    let trail = events(&copy.admin, &copy);
    assert!(trail.iter().any(|action| action == "backup.replace_content"), "{trail:?}");
    assert!(trail.len() < 6, "{trail:?}");
    investigate(&copy, "new");
    // Never over what somebody has written.
    let over = bring_back(&platform, &json!({ "organization": acme.id, "into": copy.id, "index": then }));
    assert_eq!(over["state"], "failed", "{over}");
    assert!(over["failed"].as_str().unwrap().contains("wrong_state"), "{over}");
    assert_eq!(titles(&copy.admin, &copy), ["before", "new"]);
}

/// `threatflow restore`, as the platform administrator.
fn threatflow(world: &World, args: &[&str]) -> Output {
    let file = world.folder.path().join("initial-admin-password");
    let mut command = Command::new(BINARY);
    command.arg("restore").args(args).args(["--server", &world.url, "--password-file"]).arg(file);
    command.output().unwrap()
}

#[test]
fn what_a_restore_of_everything_left_behind_is_fetched_for_one_organization() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let acme = world.organization("acme", "enterprise");
    let key = begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let then = investigate(&acme, "kept");
    let lost = (0..20).map(|round| investigate(&acme, &format!("left behind {round:02}"))).max().unwrap();
    await_archived(&platform, "one", lost);
    let moment = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    drop(world);
    let world = revive(bucket.path(), &key, &["--index", &then.to_string()]);
    let platform = world.anonymous().with_token(platform.token());
    let acme = Organization { admin: world.anonymous().with_token(acme.admin.token()), ..acme };
    await_images(&platform, "one", investigate(&acme, "new"));
    assert_eq!(titles(&acme.admin, &acme), ["kept", "new"]);
    let told = bring_back(&platform, &json!({ "organization": acme.id, "timestamp": moment }));
    assert_eq!(told["state"], "done", "{told}");
    let admin = world.anonymous().log_in("admin@acme.test", PASSWORD, "acme");
    let titles = titles(&admin, &acme);
    assert_eq!((titles.len(), titles[0].as_str()), (21, "kept"), "{titles:?}");
    // Its trail is that of this history, in which none of that was done.
    let trail = events(&admin, &acme);
    assert_eq!(
        trail.iter().filter(|action| *action == "workspace.create_investigation").count(),
        2,
        "{trail:?}"
    );
    investigate(&Organization { admin, ..acme }, "and on");
}

#[test]
fn what_cannot_be_restored_changes_nothing_and_says_why() {
    let bucket = tempfile::tempdir().unwrap();
    let world = World::one_node();
    let platform = world.platform();
    let acme = world.organization("acme", "enterprise");
    let restores = format!("{STATUS}/restores");
    let body = json!({ "organization": acme.id });
    assert_eq!(platform.post(&restores, &body).status, 409, "there is no target");
    begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", investigate(&acme, "before"));
    assert_eq!(acme.admin.post(&restores, &body).status, 404, "for operators alone");
    let both = json!({ "organization": acme.id, "index": 3, "timestamp": "2026-01-01T00:00:00Z" });
    assert_eq!(platform.post(&restores, &both).status, 422);
    let nobody = uuid::Uuid::new_v4();
    for (asked, pointer) in [
        (json!({ "organization": acme.id, "into": nobody }), "/into"),
        (json!({ "organization": nobody }), "/organization"),
    ] {
        let refused = platform.post(&restores, &asked);
        assert_eq!((refused.status, pointers(&refused)), (422, vec![pointer.to_owned()]), "{}", refused.body);
    }
    assert_eq!(platform.post(&restores, &json!({ "organization": uuid::Uuid::nil() })).status, 422);
    // Before there was a backup, and beyond its end.
    for (moment, why) in [("2020-01-01T00:00:00Z", "before the oldest images"), ("", "before 999999999")] {
        let asked = if moment.is_empty() {
            json!({ "organization": acme.id, "index": 999_999_999 })
        } else {
            json!({ "organization": acme.id, "timestamp": moment })
        };
        let over = bring_back(&platform, &asked);
        assert_eq!(over["state"], "failed", "{over}");
        assert!(over["failed"].as_str().unwrap().contains(why), "{over}");
    }
    assert_eq!(titles(&acme.admin, &acme), ["before"], "and nobody was logged out");
    let told = threatflow(&world, &["in-place", &acme.id, "--index", "999999999"]);
    assert!(!told.status.success() && said(&told).contains("nothing was changed"), "{}", said(&told));
    assert!(!said(&told).contains("entry 0 of 0"), "{}", said(&told));
    assert!(!leftovers(world.folder.path()), "scratch is empty");
}

fn leftovers(folder: &Path) -> bool {
    let scratch = folder.join("store/backup/restore");
    fs::read_dir(scratch).is_ok_and(|mut list| list.next().is_some())
}

#[test]
fn a_crash_at_any_moment_of_the_change_leaves_the_old_content_or_the_new() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = World::one_node();
    let platform = world.platform();
    let acme = world.organization("acme", "enterprise");
    begin(&platform, "one", bucket.path()).unwrap();
    await_images(&platform, "one", 1);
    let mut moments = vec![investigate(&acme, "0")];
    for round in 1..6 {
        moments.push(investigate(&acme, &round.to_string()));
    }
    await_archived(&platform, "one", moments[5]);
    for (round, pause) in [(4, 0), (3, 300), (2, 700), (1, 1_100)] {
        let asked = json!({ "organization": acme.id, "index": moments[round] });
        let asked = platform.post(&format!("{STATUS}/restores"), &asked);
        assert_eq!(asked.status, 202, "{}", asked.body);
        // Anywhere in what follows.
        std::thread::sleep(Duration::from_millis(pause));
        world.crash_and_restart();
        let path = format!("{STATUS}/restores/{}", asked.json["id"].as_str().unwrap());
        await_condition("the restore to be over", SOON * 2, || platform.get(&path).json["state"] == "done");
        let admin = world.anonymous().log_in("admin@acme.test", PASSWORD, "acme");
        assert_eq!(titles(&admin, &acme).len(), round + 1, "round {round}");
        events(&admin, &acme);
    }
}
