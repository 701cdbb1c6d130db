//! Sessions of one node: refreshing, leaving, limits, addresses, keys, and what standards ask for.

mod addresses;
mod cluster;
mod jobs;
mod keys;
mod standards;

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, World, await_condition, code};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What a login hands out.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let text = |name: &str| answer.json["tokens"][name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// What the access token says.
    fn claims(&self) -> Value {
        part(&self.access, 1)
    }

    fn kid(&self) -> String {
        part(&self.access, 0)["kid"].as_str().unwrap().to_owned()
    }

    fn session(&self) -> String {
        self.claims()["sid"].as_str().unwrap().to_owned()
    }
}

fn part(token: &str, place: usize) -> Value {
    use base64::Engine;
    let text = token.split('.').nth(place).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn log_in(caller: &Caller, slug: &str) -> Tokens {
    Tokens::of(&caller.without_token().post("/api/v2/auth/login", &credentials(slug)))
}

fn credentials(slug: &str) -> Value {
    json!({ "email": format!("admin@{slug}.test"), "password": PASSWORD, "organization": slug })
}

pub(crate) fn refresh(caller: &Caller, token: &str) -> Answer {
    caller.without_token().post("/api/v2/auth/refresh", &json!({ "refresh_token": token }))
}

/// A node with one line of configuration.
fn configured(line: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("threatflow.toml");
    fs::write(&file, format!("{line}\n")).unwrap();
    World::one_node_with(&["--config", file.to_str().unwrap()])
}

fn status(caller: &Caller, tokens: &Tokens) -> u16 {
    caller.with_token(&tokens.access).get("/api/v2/auth/me").status
}

fn delete(caller: &Caller, path: &str) -> Answer {
    caller.send("DELETE", path, None, &[]).unwrap()
}

fn events(admin: &Caller, organization: &str) -> Vec<String> {
    let path = format!("/api/v2/organizations/{organization}/audit-events?limit=50");
    let rows = admin.get(&path).json["data"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["event"]["action"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_refresh_token_is_good_once_and_whoever_reuses_it_ends_the_session() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let first = log_in(&caller, "acme");
    assert_eq!(first.claims()["amr"], json!(["pwd"]));
    assert!(first.claims()["auth_time"].is_i64());

    // Garbage ends nobody's session, however near it comes.
    let mut near = first.refresh.clone();
    near.pop();
    for garbage in [near.as_str(), &format!("{near}_"), "tfr_", "tfr_AAAA", "x", &"tfr_A".repeat(500)] {
        assert_eq!(refresh(&caller, garbage).status, 401, "{garbage}");
    }
    assert_eq!(status(&caller, &first), 200);

    // Tabs that refresh at the same time are answered the same successor.
    let at_once: Vec<Tokens> = thread::scope(|scope| {
        let asked: Vec<_> =
            (0..4).map(|_| scope.spawn(|| Tokens::of(&refresh(&caller, &first.refresh)))).collect();
        asked.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    let second = at_once[0].clone();
    assert_ne!(second.refresh, first.refresh);
    assert!(at_once.iter().all(|tab| tab.refresh == second.refresh), "each tab has the same successor");
    assert_eq!(second.session(), first.session());
    assert_eq!(status(&caller, &second), 200);

    // An older one than the last is a reuse: its holder and the thief are both out.
    let third = Tokens::of(&refresh(&caller, &second.refresh));
    let reused = refresh(&caller, &first.refresh);
    assert_eq!((reused.status, code(&reused)), (401, "unauthenticated"));
    for tokens in [&first, &second, &third] {
        assert_eq!(status(&caller, tokens), 401);
        assert_eq!(refresh(&caller, &tokens.refresh).status, 401);
    }
    assert!(events(&org.admin, &org.id).contains(&"sessions.refresh_reused".to_owned()));
}

#[test]
fn a_token_of_an_ended_session_costs_no_entry_however_often_it_is_shown() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (platform, caller) = (world.platform(), world.anonymous());
    let first = log_in(&caller, "acme");
    let second = Tokens::of(&refresh(&caller, &first.refresh));
    let third = Tokens::of(&refresh(&caller, &second.refresh));
    // The latest entry of the organization's file.
    let mark = || {
        let digests = platform.get(&format!("/api/v2/cluster/digests?organization={}", org.id));
        digests.json["files"][&org.id]["mark"].as_u64().unwrap_or_else(|| panic!("{}", digests.body))
    };
    let before = mark();
    assert_eq!(refresh(&caller, &first.refresh).status, 401, "the reuse");
    await_condition("the end of the session to stand in the log", Duration::from_secs(5), || mark() > before);
    // A job may write in one round, but not in each.
    let costs_nothing = (0..3).any(|_| {
        let before = mark();
        for dead in [&first, &second, &third].iter().cycle().take(30) {
            assert_eq!(refresh(&caller, &dead.refresh).status, 401);
        }
        mark() == before
    });
    assert!(costs_nothing);
}

#[test]
fn a_refreshed_session_survives_a_crash_and_a_repeated_login_hands_out_the_same() {
    let mut world = World::one_node();
    world.organization("acme", "enterprise");
    let body = credentials("acme").to_string();
    let twice = || {
        let headers = [("idempotency-key", "one-login")];
        let answer = world.anonymous().send("POST", "/api/v2/auth/login", Some(body.as_bytes()), &headers);
        Tokens::of(&answer.unwrap())
    };
    let (one, two) = (twice(), twice());
    assert_eq!((one.session(), &one.refresh), (two.session(), &two.refresh));
    let next = Tokens::of(&refresh(&world.anonymous(), &one.refresh));
    world.crash_and_restart();
    let caller = world.anonymous();
    assert_eq!(status(&caller, &next), 200);
    assert_eq!(refresh(&caller, &next.refresh).status, 200);
}

#[test]
fn v1_clients_refresh_verify_and_leave_in_their_own_words() {
    let world = World::one_node();
    world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let logged_in = caller.post("/api/v1/auth/login", &credentials("acme"));
    let tokens = &logged_in.json["tokens"];
    assert_eq!((&tokens["expiresIn"], &tokens["tokenType"]), (&json!(600), &json!("Bearer")));
    let answer = caller.post("/api/v1/auth/refresh", &json!({ "refreshToken": tokens["refreshToken"] }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let access = answer.json["tokens"]["accessToken"].as_str().unwrap().to_owned();
    let verified = caller.post("/api/v1/auth/verify", &json!({ "token": access }));
    assert_eq!(verified.json["valid"], true, "{}", verified.body);
    assert_eq!(verified.json["user"]["email"], "admin@acme.test");
    assert!(verified.json["expiresAt"].is_string());
    let holder = caller.with_token(&access);
    assert_eq!(holder.send("POST", "/api/v1/auth/logout", None, &[]).unwrap().status, 204);
    assert_eq!(holder.get("/api/v1/auth/me").status, 401);
    let verified = caller.post("/api/v1/auth/verify", &json!({ "token": access }));
    assert_eq!((verified.status, verified.json), (200, json!({ "valid": false })));
}

#[test]
fn sessions_are_listed_and_ended_one_by_one_or_all_but_this() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let agent = [("user-agent", "figures/1.0")];
    let body = credentials("acme").to_string();
    let here = caller.send("POST", "/api/v2/auth/login", Some(body.as_bytes()), &agent).unwrap();
    let here = Tokens::of(&here);
    let (there, elsewhere) = (log_in(&caller, "acme"), log_in(&caller, "acme"));
    let me = caller.with_token(&here.access);
    let listed = me.get("/api/v2/auth/sessions").json["data"].as_array().unwrap().clone();
    let current: Vec<&Value> = listed.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"], here.session());
    assert_eq!(current[0]["user_agent"], "figures/1.0");
    assert_eq!(current[0]["ip_address"], "127.0.0.1");
    assert_eq!(listed.len(), 4, "the harness logged in once, this test three times");

    assert_eq!(delete(&me, &format!("/api/v2/auth/sessions/{}", there.session())).status, 204);
    assert_eq!((status(&caller, &there), status(&caller, &elsewhere)), (401, 200));
    assert_eq!(delete(&me, &format!("/api/v2/auth/sessions/{}", there.session())).status, 404);
    assert_eq!(delete(&me, "/api/v2/auth/sessions").status, 204);
    assert_eq!((status(&caller, &here), status(&caller, &elsewhere)), (200, 401));
    assert_eq!(org.admin.get("/api/v2/auth/me").status, 401, "the harness's session was another");
}

#[test]
fn administrators_end_sessions_of_others_and_nobody_else_does() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (ana, lee) = (org.member("ana", "analyst"), org.member("lee", "team_lead"));
    let id = ana.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let path = org.path(&format!("/users/{id}/sessions"));
    assert_eq!(lee.get(&path).status, 403);
    assert_eq!(delete(&lee, &path).status, 403);
    assert_eq!(delete(&lee, &org.path("/sessions")).status, 403);
    // One's own session is not to be ended by another's as if it were its own.
    let of_lee = lee.get("/api/v2/auth/sessions").json["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(delete(&ana, &format!("/api/v2/auth/sessions/{of_lee}")).status, 404);

    let listed = org.admin.get(&path);
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 1, "{}", listed.body);
    assert_eq!(delete(&org.admin, &path).status, 204);
    assert_eq!((ana.get("/api/v2/auth/me").status, lee.get("/api/v2/auth/me").status), (401, 200));
    assert_eq!(delete(&org.admin, &org.path("/sessions")).status, 204);
    assert_eq!((lee.get("/api/v2/auth/me").status, org.admin.get("/api/v2/auth/me").status), (401, 200));
    let nobody = org.path("/users/01890a5d-ac96-774b-bcce-b302099a8057/sessions");
    assert_eq!((org.admin.get(&nobody).status, delete(&org.admin, &nobody).status), (404, 404));
}

#[test]
fn limits_are_set_against_the_version_that_was_seen_and_hold_at_once() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let path = org.path("/session-policy");
    let shown = org.admin.get(&path);
    assert_eq!(shown.json, json!({ "idle_minutes": 60, "absolute_hours": 24, "concurrent_max": 50 }));
    let put = |body: &Value, etag: &str| {
        let headers = [("if-match", etag)];
        org.admin.send("PUT", &path, Some(body.to_string().as_bytes()), &headers).unwrap()
    };
    let one = json!({ "idle_minutes": 30, "absolute_hours": 1, "concurrent_max": 1 });
    let etag = shown.header("etag").unwrap();
    assert_eq!(put(&one, etag).status, 200);
    assert_eq!(put(&one, etag).status, 412);
    assert_eq!(org.admin.get(&path).json, one);
    let wrong = json!({ "idle_minutes": 90, "absolute_hours": 1, "concurrent_max": 1 });
    assert_eq!(put(&wrong, "*").status, 422);

    let caller = world.anonymous();
    let first = log_in(&caller, "acme");
    assert_eq!(status(&caller, &first), 200);
    let second = log_in(&caller, "acme");
    await_condition("the older session to end", Duration::from_secs(5), || status(&caller, &first) == 401);
    assert_eq!(status(&caller, &second), 200);
}

#[test]
fn tokens_that_nobody_issued_are_refused_at_the_door() {
    let world = World::one_node();
    world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let good = log_in(&caller, "acme");
    let parts: Vec<&str> = good.access.split('.').collect();
    let none = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJub25lIn0";
    let elsewhere = {
        let other = World::one_node();
        other.organization("acme", "enterprise");
        log_in(&other.anonymous(), "acme").access
    };
    let forged = [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        good.access[..good.access.len() - 1].to_owned(),
        format!("{}A", good.access),
        good.refresh.clone(),
        "x".repeat(60_000),
        elsewhere,
    ];
    for token in forged {
        let answer = caller.with_token(&token).get("/api/v2/auth/me");
        assert_eq!((answer.status, code(&answer)), (401, "unauthenticated"), "{token:.80}");
        assert!(caller.post("/api/v2/auth/verify", &json!({ "token": token })).json["valid"] != true);
    }
    assert_eq!(status(&caller, &good), 200);
}
