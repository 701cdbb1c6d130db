//! What a node's log says of requests that it refused, and what it does not.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::harness::{World, await_condition};

const SECRET: &str = "a secret that nobody is to read";
const EMAIL: &str = "somebody@acme.test";

/// Refused requests, each with an id of its own: which route it is for, its status, and its code.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("01930000-0000-7000-8000-00000000a001", "logIn", 401, "unauthenticated"),
    ("01930000-0000-7000-8000-00000000a002", "logIn", 422, "invalid"),
    ("01930000-0000-7000-8000-00000000a003", "refresh", 401, "unauthenticated"),
    ("01930000-0000-7000-8000-00000000a004", "whoAmI", 401, "unauthenticated"),
];

/// Sends them; each carries a secret, and an address where there is a place for one.
fn ask(world: &World) {
    let send = |place: usize, method: &str, path: &str, body: Option<&Value>, token: &str| {
        let (id, _, status, _) = REFUSED[place];
        let caller = if token.is_empty() { world.anonymous() } else { world.anonymous().with_token(token) };
        let body = body.map(Value::to_string);
        let headers = [("x-request-id", id)];
        let answer = caller.send(method, path, body.as_ref().map(String::as_bytes), &headers).unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    };
    let login = json!({ "email": EMAIL, "password": SECRET, "organization": "acme" });
    send(0, "POST", "/api/v2/auth/login", Some(&login), "");
    let unknown = json!({ "email": EMAIL, "password": SECRET, SECRET: EMAIL });
    send(1, "POST", "/api/v2/auth/login", Some(&unknown), "");
    send(2, "POST", "/api/v2/auth/refresh", Some(&json!({ "refresh_token": format!("tfr_{SECRET}") })), "");
    send(3, "GET", &format!("/api/v2/auth/me?q={EMAIL}"), None, SECRET);
}

#[test]
fn a_refused_request_is_one_line_with_its_id_route_and_status_and_without_what_was_sent() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("threatflow.toml");
        fs::write(&config, format!("log_format = \"{format}\"\n")).unwrap();
        let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
        world.organization("acme", "enterprise");
        ask(&world);
        for (id, route, status, code) in REFUSED {
            let lines = || {
                let said = world.said();
                said.lines().filter(|line| line.contains(id)).map(str::to_owned).collect::<Vec<_>>()
            };
            await_condition("the line", Duration::from_secs(5), || !lines().is_empty());
            let [line] = lines().try_into().unwrap_or_else(|lines| panic!("not one line: {lines:?}"));
            let says = |name: &str, value: &str| match format {
                "json" => line.contains(&format!("\"{name}\":{value}")),
                _ => line.contains(&format!("{name}={value}")),
            };
            assert!(line.contains("a request was refused"), "{line}");
            assert!(says("status", &status.to_string()), "{line}");
            assert!(says("route", &format!("\"{route}\"")), "{line}");
            assert!(says("code", &format!("\"{code}\"")), "{line}");
            assert!(format != "json" || serde_json::from_str::<Value>(&line).is_ok(), "{line}");
        }
        let said = world.said();
        for what in [SECRET, EMAIL, "correct horse battery staple"] {
            assert!(!said.contains(what), "the log tells {what:?}");
        }
    }
}
