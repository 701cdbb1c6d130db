//! Forward-auth as a proxy sees it; real nginx is in `tests/judges/forward.py`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::harness::{Caller, World};

const ASK: &str = "/api/v2/auth/forward";

fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn status(caller: &Caller, path: &str) -> u16 {
    caller.get(&format!("{ASK}{path}")).status
}

#[test]
fn a_caller_passes_with_headers_about_it_or_not_at_all() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let other = world.organization("other", "enterprise");
    let ana = org.member("ana", "analyst");
    let me = ana.get("/api/v2/auth/me").json["user"]["id"].clone();
    let group = org.admin.post(&org.path("/groups"), &json!({ "name": "Blue, green" }));
    let members =
        org.path(&format!("/groups/{}/members/{}", group.json["id"].as_str().unwrap(), me.as_str().unwrap()));
    assert!(org.admin.json("PUT", &members, &json!({})).status < 300);

    let forged = [("remote-user", "root"), ("remote-groups", "admins"), ("x-forwarded-uri", "/admin")];
    let passed =
        ana.send("GET", &format!("{ASK}?permission=read:case&organization=acme"), None, &forged).unwrap();
    assert_eq!(passed.status, 200, "{}", passed.body);
    assert_eq!(passed.header("remote-user"), me.as_str());
    assert_eq!(passed.header("remote-email"), Some("ana@acme.test"));
    assert_eq!(passed.header("remote-groups"), Some("Blue%2C green"));
    assert_eq!(passed.header("remote-role"), Some("analyst"));
    let token = passed.header("x-threatflow-token").unwrap();
    let (header, claims) = (part(token, 0), part(token, 1));
    assert_eq!((&header["typ"], &claims["aud"]), (&json!("forward+jwt"), &json!("threatflow-forward")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!(ana.with_token(token).get("/api/v2/auth/me").status, 401, "it was taken for an access token");

    assert_eq!(status(&ana, ""), 200);
    assert_eq!(status(&ana, "?permission=delete:case"), 403);
    assert_eq!(status(&ana, "?permission=GET:route&resource=/todos"), 403);
    assert_eq!(status(&ana, "?permission=read:case&organization=other"), 403);
    assert_eq!(status(&other.admin, "?permission=read:case&organization=acme"), 403);
    assert_eq!(status(&world.anonymous(), "?permission=read:case"), 401);
    assert_eq!(status(&ana, "?permission=nonsense"), 422);
    assert_eq!(ana.post("/api/v2/auth/logout", &json!({})).status / 100, 2);
    assert_eq!(status(&ana, "?permission=read:case"), 401);
}

#[test]
fn the_path_before_the_clients_own_says_what_is_needed() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let text = "permit (principal, action == Action::\"GET\", resource == External::route::\"/todos/7\");";
    assert_eq!(org.admin.post(&org.path("/policies"), &json!({ "name": "x", "text": text })).status, 201);
    assert_eq!(status(&ana, "/acme/read:case/any/path?permission=x&permission=y"), 200);
    assert_eq!(status(&ana, "/acme/read:case/"), 200);
    assert_eq!(status(&ana, "/acme/delete:case/any/path?permission=read:case"), 403);
    assert_eq!(status(&ana, "/acme/GET:route/todos/7"), 200);
    assert_eq!(status(&ana, "/acme/GET:route/todos/8"), 403);
    let posted = ana.post(&format!("{ASK}/acme/read:case/any"), &json!({}));
    assert_eq!(posted.status, 200, "{}", posted.body);
}

#[test]
fn only_trusted_proxies_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    std::fs::write(&config, "trusted_proxies = \"192.0.2.1\"\n").unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    let org = world.organization("acme", "enterprise");
    assert_eq!(status(&org.admin, "?permission=read:case"), 403);
    let claimed = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(org.admin.send("GET", ASK, None, &claimed).unwrap().status, 403);
}
