//! What jobs do to sessions and signing keys on a running node whose clock is moved.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Tokens, log_in, refresh, status};
use crate::{
    faults::Skew,
    harness::{Caller, World, await_condition, code},
};

/// Jobs look every quarter of a minute, or every minute.
const PATIENCE: Duration = Duration::from_secs(100);

fn sessions(caller: &Caller, tokens: &Tokens) -> Vec<Value> {
    let listed = caller.with_token(&tokens.access).get("/api/v2/auth/sessions");
    listed.json["data"].as_array().unwrap_or_else(|| panic!("{}", listed.body)).clone()
}

fn named(sessions: &[Value], tokens: &Tokens) -> Option<Value> {
    sessions.iter().find(|session| session["id"] == tokens.session()).cloned()
}

#[test]
fn a_last_use_is_written_down_an_idle_session_is_removed_and_a_new_key_begins_to_sign() {
    let skew = Skew::build();
    let world = World::one_node_in(skew.environment(0), &[]);
    let org = world.organization("acme", "enterprise");
    let (platform, caller) = (world.platform(), world.anonymous());
    let policy = json!({ "idle_minutes": 5, "absolute_hours": 24, "concurrent_max": 50 });
    assert_eq!(org.admin.put(&org.path("/session-policy"), &policy).status, 200);
    let (used, idle) = (log_in(&caller, "acme"), log_in(&caller, "acme"));
    let begun = platform.post("/api/v2/cluster/signing-keys/rotate", &json!({}));
    let next = begun.json["kid"].as_str().unwrap_or_else(|| panic!("{}", begun.body)).to_owned();
    let seen = |tokens: &Tokens| {
        let session = named(&sessions(&caller, &used), tokens)?;
        session["last_seen_at"].as_str().map(str::to_owned)
    };
    let (used_at_first, idle_at_first) = (seen(&used), seen(&idle));

    // A use is written down when the last that was is a minute old.
    skew.set(0, 90);
    await_condition("the last use to be written down", PATIENCE, || seen(&used) > used_at_first);
    assert_eq!(seen(&idle), idle_at_first, "listing is no use of what is listed");

    skew.set(0, 310);
    assert_eq!((status(&caller, &used), status(&caller, &idle)), (200, 401), "at once, by the time");
    let ended = org.path("/audit-events?action=sessions.ended");
    await_condition("the idle session to be removed", PATIENCE, || {
        caller.with_token(&used.access).get(&ended).body.contains("expired")
    });
    assert_eq!((status(&caller, &used), seen(&idle)), (200, None));

    assert_ne!(log_in(&caller, "acme").kid(), next, "it is published, and does not sign yet");
    skew.set(0, 700);
    let platform = world.platform();
    await_condition("the next key to sign", PATIENCE, || {
        let keys = platform.get("/api/v2/cluster/signing-keys").json["keys"].clone();
        let active = |key: &Value| key["state"] == "active" && key["kid"] == next;
        keys.as_array().is_some_and(|keys| keys.iter().any(active))
    });
    await_condition("tokens to be signed by it", Duration::from_secs(10), || {
        log_in(&caller, "acme").kid() == next
    });
}

#[test]
fn a_proof_of_ten_minutes_ago_is_asked_for_again_at_home_and_in_an_organization_below() {
    let skew = Skew::build();
    let world = World::one_node_in(skew.environment(0), &[]);
    let parent = world.organization("parent", "enterprise");
    let child = world.child_of(&parent, "child", "enterprise");
    let caller = world.anonymous();
    let first = log_in(&caller, "parent");
    // An administrator of the organization above changes what guards the one below.
    let require_mfa = |tokens: &Tokens, required: bool| {
        let body = json!({ "require_mfa": required });
        caller.with_token(&tokens.access).json("PATCH", &child.path(""), &body)
    };
    let invite = |tokens: &Tokens, email: &str, role: &str| {
        let body = json!({ "email": email, "role": role });
        caller.with_token(&tokens.access).post(&parent.path("/users/invite"), &body)
    };
    // The session lies in the parent's file, and its proof is fresh.
    assert_eq!(require_mfa(&first, false).status, 200);

    skew.set(0, 601);
    let later = Tokens::of(&refresh(&caller, &first.refresh));
    let refused = require_mfa(&later, true);
    assert_eq!((refused.status, code(&refused)), (403, "step_up_required"), "{}", refused.body);
    assert_eq!(refused.json["methods"], json!([]), "what it can show stands in its own file");
    let refused = invite(&later, "bob@parent.test", "admin");
    assert_eq!((refused.status, code(&refused)), (403, "step_up_required"), "{}", refused.body);
    assert_eq!(refused.json["methods"], json!(["password"]));
    assert_eq!(invite(&later, "bob@parent.test", "analyst").status, 201, "what is not dangerous goes on");

    let proof = json!({ "password": super::PASSWORD });
    let proved = caller.with_token(&later.access).post("/api/v2/auth/step-up", &proof);
    assert_eq!(proved.status, 200, "{}", proved.body);
    assert_eq!(invite(&later, "eve@parent.test", "admin").status, 201);
    // What was remembered of the session is read again once the node has applied the proof.
    await_condition("the proof to hold below", Duration::from_secs(5), || {
        require_mfa(&later, true).status == 200
    });
}
