//! Signing keys that change while tokens are in use.

use serde_json::{Value, json};

use super::{Tokens, log_in, refresh, status};
use crate::harness::{Caller, World};

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
