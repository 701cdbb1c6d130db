//! Signing keys that change while tokens are in use.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use super::{Tokens, log_in, refresh, status};
use crate::harness::{BINARY, Caller, World, await_condition};

const ROTATE: &str = "/api/v2/cluster/signing-keys/rotate";

fn published(caller: &Caller) -> Vec<String> {
    let keys = caller.get("/.well-known/jwks.json").json["keys"].as_array().cloned().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_new_key_is_published_before_it_signs_and_a_revoked_one_is_good_for_nothing_at_once() {
    let mut world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (platform, caller) = (world.platform(), world.anonymous());
    let before = log_in(&caller, "acme");
    assert_eq!(org.admin.post(ROTATE, &json!({})).status, 404);

    let begun = platform.post(ROTATE, &json!({}));
    assert_eq!((begun.status, &begun.json["state"]), (200, &json!("next")), "{}", begun.body);
    let next = begun.json["kid"].as_str().unwrap().to_owned();
    let keys = published(&caller);
    assert!(keys.contains(&next) && keys.contains(&before.kid()), "{keys:?}");
    assert_eq!(log_in(&caller, "acme").kid(), before.kid(), "it does not sign yet");
    assert_eq!(platform.post(ROTATE, &json!({})).status, 409);
    let states = platform.get("/api/v2/cluster/signing-keys").json["keys"].clone();
    let mut states: Vec<&Value> = states.as_array().unwrap().iter().map(|key| &key["state"]).collect();
    states.sort_by_key(|state| state.to_string());
    assert_eq!(states, [&json!("active"), &json!("next")]);

    // Also a caller who is remembered is asked for a new token, and the session goes on.
    assert_eq!(status(&caller, &before), 200);
    let revoked = platform.post(ROTATE, &json!({ "revoke_others": true }));
    assert_eq!((revoked.status, &revoked.json["state"]), (200, &json!("active")), "{}", revoked.body);
    assert_eq!(status(&caller, &before), 401);
    assert_eq!(platform.get("/api/v2/cluster/signing-keys").status, 401);
    let after = Tokens::of(&refresh(&caller, &before.refresh));
    assert_eq!(json!(after.kid()), revoked.json["kid"]);
    assert_eq!(published(&caller), [after.kid()]);
    world.crash_and_restart();
    let caller = world.anonymous();
    assert_eq!((status(&caller, &after), status(&caller, &before)), (200, 401));
}

#[test]
fn signing_keys_are_sealed_anew_with_the_cluster_key_and_tokens_stay_good() {
    let mut world = World::one_node();
    world.organization("acme", "enterprise");
    let (platform, tokens) = (world.platform(), log_in(&world.anonymous(), "acme"));
    assert_eq!(platform.post("/api/v2/cluster/keys/rotate", &json!({})).status, 200);
    await_condition("the old cluster key to be forgotten", Duration::from_secs(40), || {
        let keys = platform.get("/api/v2/cluster/keys").json;
        let held = keys["members"][0]["keys"]["held"].as_object().map_or(2, serde_json::Map::len);
        keys["step"] == "settled" && keys["generation"] == 2 && held == 1
    });
    // What is sealed under a key that nobody has would keep the node from starting.
    world.crash_and_restart();
    let caller = world.anonymous();
    assert_eq!((status(&caller, &tokens), refresh(&caller, &tokens.refresh).status), (200, 200));
    assert_eq!(log_in(&caller, "acme").kid(), tokens.kid());
}

#[test]
fn an_operator_rotates_by_the_command_line() {
    let world = World::one_node();
    let password = world.folder.path().join("initial-admin-password");
    let rotate = |more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["cluster", "rotate-signing-key", "--server", &world.url, "--password-file"]);
        let output = command.arg(&password).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (next, now) = (rotate(&[]), rotate(&["--revoke-others"]));
    let keys = published(&world.anonymous());
    assert!(next.contains("signs in ten minutes") && !next.contains(&keys[0]), "{next}");
    assert!(now.contains("revoked") && now.contains(&keys[0]) && keys.len() == 1, "{now}");
}
