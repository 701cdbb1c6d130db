//! People over HTTP: invitations, lives, passwords, guesses, recovery.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Answer, BINARY, Caller, World, await_condition, code, pointers};

const PASSWORD: &str = "staircase orbit lamp seven";
const OTHER: &str = "unrelated violet tractor nine";

fn log_in(caller: &Caller, email: &str, password: &str, organization: &str) -> Answer {
    let body = json!({ "email": email, "password": password, "organization": organization });
    caller.post("/api/v2/auth/login", &body)
}

fn token(answer: &Answer) -> String {
    answer.json["link"]["token"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

#[test]
fn an_invitation_lets_one_person_in_once_and_a_lead_needs_an_approval() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let lead = org.member("lead", "team_lead");
    let invited = lead.post(&org.path("/users/invite"), &json!({ "email": "bob@acme.test" }));
    assert_eq!(invited.status, 201, "{}", invited.body);
    assert_eq!(invited.json["user"]["state"], "invited");
    assert_eq!(invited.json["user"]["role"], "analyst");
    let id = invited.json["user"]["id"].as_str().unwrap().to_owned();

    let nobody = world.anonymous();
    let accept = |token: &str, password: &str| {
        nobody.post("/api/v2/auth/invitations/accept", &json!({ "token": token, "password": password }))
    };
    assert_eq!(accept(&token(&invited), "bob bob bob bob").status, 422);
    let accepted = accept(&token(&invited), PASSWORD);
    assert_eq!(
        (accepted.status, &accepted.json["waits_for_approval"]),
        (200, &json!(true)),
        "{}",
        accepted.body
    );
    let again = accept(&token(&invited), PASSWORD);
    assert_eq!((again.status, code(&again)), (410, "link_invalid"));
    let forged = token(&invited).replace("tfl_", "tfl_0").split_at(100).0.to_owned();
    assert_eq!(code(&accept(&forged, PASSWORD)), "link_invalid");
    assert_eq!(accept(&forged[..99], PASSWORD).status, 422);

    assert_eq!(log_in(&nobody, "bob@acme.test", PASSWORD, "acme").status, 401);
    assert_eq!(lead.post(&org.path(&format!("/users/{id}/approve")), &json!({})).status, 403);
    let approved = org.admin.post(&org.path(&format!("/users/{id}/approve")), &json!({}));
    assert_eq!((approved.status, &approved.json["state"]), (200, &json!("active")), "{}", approved.body);
    assert_eq!(log_in(&nobody, "bob@acme.test", PASSWORD, "acme").status, 200);
    let listed = org.admin.get(&org.path("/users?state=active&q=BOB"));
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 1, "{}", listed.body);
}

#[test]
fn a_remembered_answer_does_not_show_a_link_again() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let body = json!({ "email": "bob@acme.test" }).to_string();
    let invite = || {
        let key = [("idempotency-key", "one")];
        org.admin.send("POST", &org.path("/users/invite"), Some(body.as_bytes()), &key).unwrap()
    };
    let first = invite();
    assert!(first.json["link"]["token"].is_string(), "{}", first.body);
    let second = invite();
    assert_eq!(second.header("idempotency-replayed"), Some("true"), "{}", second.body);
    assert_eq!(second.json["link"]["token"], Value::Null);
    assert_eq!(second.json["user"]["id"], first.json["user"]["id"]);
}

#[test]
fn who_is_deactivated_is_out_at_once_and_comes_back_with_everything_in_place() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let ann = org.member("ann", "analyst");
    let id = ann.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let step = |step: &str| org.admin.post(&org.path(&format!("/users/{id}/{step}")), &json!({}));
    assert_eq!(step("deactivate").status, 200);
    assert_eq!(ann.get("/api/v2/auth/me").status, 401);
    assert_eq!(
        log_in(&ann.without_token(), "ann@acme.test", "correct horse battery staple", "acme").status,
        401
    );
    assert_eq!(code(&step("deactivate")), "wrong_state");
    assert_eq!(step("activate").status, 200);
    assert_eq!(ann.get("/api/v2/auth/me").status, 401, "an ended session stays ended");
    assert_eq!(
        log_in(&ann.without_token(), "ann@acme.test", "correct horse battery staple", "acme").status,
        200
    );
}

#[test]
fn a_new_password_ends_other_sessions_and_one_that_is_easy_to_guess_is_refused() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let here = org.member("ann", "analyst");
    let there = here.without_token().log_in("ann@acme.test", "correct horse battery staple", "acme");
    let change = |old: &str, new: &str| {
        here.post("/api/v2/auth/password/change", &json!({ "current_password": old, "new_password": new }))
    };
    for (new, pointer) in [
        ("password12345", "/new_password"),
        ("acme staircase orbit", "/new_password"),
        ("correct horse battery staple", "/new_password"),
        ("short", "/new_password"),
    ] {
        let answer = change("correct horse battery staple", new);
        assert_eq!(
            (answer.status, pointers(&answer)),
            (422, vec![pointer.to_owned()]),
            "{new}: {}",
            answer.body
        );
    }
    assert_eq!(pointers(&change("something else entirely", PASSWORD)), ["/current_password"]);
    assert_eq!(change("correct horse battery staple", PASSWORD).status, 204);
    let statuses: Vec<u16> = (0..6).map(|_| change("something else entirely", OTHER).status).collect();
    assert_eq!(statuses, [422, 422, 422, 422, 429, 429], "guesses at an open session count, too");
    assert_eq!(here.get("/api/v2/auth/me").status, 200);
    assert_eq!(there.get("/api/v2/auth/me").status, 401);
    await_condition("the delay to end", Duration::from_secs(10), || {
        log_in(&here.without_token(), "ann@acme.test", PASSWORD, "acme").status == 200
    });
}

#[test]
fn a_demanded_password_is_chosen_with_the_token_that_stands_in_the_place_of_a_session() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let ann = org.member("ann", "analyst");
    let id = ann.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let path = org.path(&format!("/users/{id}/require-password-change"));
    assert_eq!(org.admin.post(&path, &json!({})).status, 200);
    assert_eq!(ann.get("/api/v2/auth/me").status, 401);
    let nobody = world.anonymous();
    let demanded = log_in(&nobody, "ann@acme.test", "correct horse battery staple", "acme");
    assert_eq!((demanded.status, code(&demanded)), (403, "password_change_required"));
    assert_eq!(log_in(&nobody, "ann@acme.test", "wrong password entirely", "acme").status, 401);
    let choose = |password: &str| {
        let token = &demanded.json["password_token"];
        nobody.post("/api/v2/auth/password/reset", &json!({ "token": token, "password": password }))
    };
    assert_eq!(choose(PASSWORD).status, 204);
    assert_eq!(code(&choose(OTHER)), "link_invalid");
    assert_eq!(log_in(&nobody, "ann@acme.test", PASSWORD, "acme").status, 200);
}

#[test]
fn guesses_are_slowed_down_alike_for_who_is_there_and_who_is_not() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    org.member("ann", "analyst");
    let nobody = world.anonymous();
    for name in ["ann@acme.test", "nobody@acme.test"] {
        let statuses: Vec<u16> =
            (0..6).map(|_| log_in(&nobody, name, "wrong password entirely", "acme").status).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "{name}");
    }
    let slowed = log_in(&nobody, "ann@acme.test", "correct horse battery staple", "acme");
    assert_eq!((slowed.status, code(&slowed)), (429, "login_slowed"));
    assert_eq!(slowed.header("retry-after"), Some("1"));
    // Nobody is locked out: the delay ends, and the right password is taken.
    await_condition("the delay to end", Duration::from_secs(10), || {
        log_in(&nobody, "ann@acme.test", "correct horse battery staple", "acme").status == 200
    });
    let events = org.admin.get(&org.path("/audit-events?action=login.slowed"));
    assert_eq!(events.json["data"].as_array().unwrap().len(), 2, "{}", events.body);
}

#[test]
fn an_account_is_counted_as_one_under_all_of_its_names_and_that_they_are_one_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    std::fs::write(&config, "trusted_proxies = \"127.0.0.1\"\n").unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    let org = world.organization("acme", "professional");
    let ann = org.member("ann", "analyst");
    let id = ann.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let named = org.admin.json("PATCH", &org.path(&format!("/users/{id}")), &json!({ "username": "annie" }));
    assert_eq!(named.status, 200, "{}", named.body);

    let log_in = |address: &str, name: &str, password: &str| {
        let body = json!({ "email": name, "password": password, "organization": "acme" }).to_string();
        let headers = [("x-forwarded-for", address)];
        let nobody = world.anonymous();
        nobody.send("POST", "/api/v2/auth/login", Some(body.as_bytes()), &headers).unwrap()
    };
    // Each from a network of its own, so that neither has the other's failures.
    let guess = |address: &str, names: [&str; 2]| {
        let names = names.into_iter().zip([5, 4]).flat_map(|(name, times)| std::iter::repeat_n(name, times));
        names.map(|name| log_in(address, name, "wrong password entirely").status).collect::<Vec<u16>>()
    };
    let known = guess("192.0.2.1", ["ann@acme.test", "annie"]);
    assert_eq!(known, guess("192.0.2.2", ["bob@acme.test", "bobbie"]));
    assert_eq!(known, [401; 9]);
    // The ninth failure has begun a delay of 16 s for the account: even the right password is not taken meanwhile, and
    // under a name that has had four failures only, the answer is what it would be for any other.
    let right = log_in("192.0.2.1", "annie", "correct horse battery staple");
    let wrong = log_in("192.0.2.2", "bobbie", "correct horse battery staple");
    assert_eq!((right.status, code(&right)), (wrong.status, code(&wrong)));
    assert_eq!((right.status, code(&right)), (401, "unauthenticated"));
    // Elsewhere nobody waits for it.
    assert_eq!(log_in("192.0.2.3", "annie", "correct horse battery staple").status, 200);
}

#[test]
fn an_organization_that_is_not_there_looks_as_one_where_the_password_is_wrong() {
    let world = World::one_node();
    world.organization("acme", "professional");
    let nobody = world.anonymous();
    let blank = |organization: &str| {
        let mut answer = log_in(&nobody, "ann@acme.test", "wrong password entirely", organization);
        answer.json["instance"] = Value::Null;
        (answer.status, answer.json)
    };
    assert_eq!(blank("acme"), blank("no-such-slug"));
}

#[test]
fn a_deleted_person_leaves_an_id_in_the_trail_and_nothing_else() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ann = org.member("ann.of.nowhere", "analyst");
    let id = ann.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    log_in(&ann.without_token(), "ann.of.nowhere@acme.test", "wrong password entirely", "acme");
    let trail = || org.admin.get(&org.path("/audit-events?limit=200")).body;
    assert!(trail().contains("ann.of.nowhere"));
    let deleted = org.admin.send("DELETE", &org.path(&format!("/users/{id}")), None, &[]).unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.body);
    assert_eq!(ann.get("/api/v2/auth/me").status, 401);
    await_condition("the traces to go", Duration::from_secs(90), || !trail().contains("ann.of.nowhere"));
    assert!(trail().contains(&id));
}

#[test]
fn whoever_holds_the_keyring_has_an_administrator_choose_a_new_password() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let recover = |folder: &std::path::Path, more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["recover", "admin", "--server", &world.url, "--data-dir"]).arg(folder).args(more);
        command.output().unwrap()
    };
    let done = recover(world.folder.path(), &["--organization", "acme"]);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let token = told.split_whitespace().find(|word| word.starts_with("tfl_")).unwrap().to_owned();
    let chosen =
        world.anonymous().post("/api/v2/auth/password/reset", &json!({ "token": token, "password": OTHER }));
    assert_eq!(chosen.status, 204, "{}", chosen.body);
    assert_eq!(org.admin.get("/api/v2/auth/me").status, 401, "the old sessions end");
    assert_eq!(log_in(&world.anonymous(), "admin@acme.test", OTHER, "acme").status, 200);

    // The keyring of another installation opens nothing here.
    let other = World::one_node();
    let refused = recover(other.folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let forged = json!({ "statement": "00".repeat(60) });
    assert_eq!(world.anonymous().post("/api/v2/cluster/recovery", &forged).status, 401);
}

#[test]
fn a_hash_is_made_anew_when_it_should_cost_more() {
    let folder = tempfile::tempdir().unwrap();
    let config = |text: &str| {
        let path = folder.path().join("threatflow.toml");
        std::fs::write(&path, text).unwrap();
        ["--config".to_owned(), path.display().to_string()]
    };
    let flags = config("password_memory_kib = 64\npassword_passes = 1\n");
    let mut world = World::one_node_with(&flags.each_ref().map(String::as_str));
    let org = world.organization("acme", "professional");
    org.member("ann", "analyst");
    config("password_memory_kib = 128\npassword_passes = 1\n");
    world.crash_and_restart();
    let hashed = |world: &World| {
        // Only the length of work tells from outside; the trail tells nothing, so the file is asked.
        let log = std::fs::read_to_string(world.folder.path().join("stderr.log")).unwrap_or_default();
        log.matches("a password was hashed anew").count()
    };
    assert_eq!(
        log_in(&world.anonymous(), "ann@acme.test", "correct horse battery staple", "acme").status,
        200
    );
    await_condition("the hash to be made anew", Duration::from_secs(10), || hashed(&world) == 1);
    assert_eq!(
        log_in(&world.anonymous(), "ann@acme.test", "correct horse battery staple", "acme").status,
        200
    );
    assert_eq!(hashed(&world), 1, "once is enough");
}

#[test]
fn a_storm_of_logins_is_turned_away_and_everything_else_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    std::fs::write(&config, "password_passes = 40\n").unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    let platform = world.platform();
    std::thread::scope(|scope| {
        let storm: Vec<_> = (0..160)
            .map(|number| {
                let nobody = world.anonymous();
                scope.spawn(move || {
                    log_in(&nobody, &format!("n{number}@nowhere.test"), "wrong password entirely", "system")
                        .status
                })
            })
            .collect();
        assert_eq!(platform.get("/api/v2/cluster").status, 200);
        let statuses: Vec<u16> = storm.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(statuses.contains(&503), "{statuses:?}");
        assert!(statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
    });
}
