//! RFC 7009, 7517, 7662 and 8414, as clients of those ask.

use serde_json::json;

use super::{PASSWORD, configured, log_in, refresh, status};
use crate::harness::{Answer, Caller, World};

fn form(caller: &Caller, path: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    caller.send("POST", path, Some(body.as_bytes()), &headers).unwrap()
}

#[test]
fn the_metadata_names_what_is_served_and_tokens_name_the_same_issuer() {
    let world = configured("public_url = \"https://threatflow.example.org/\"");
    world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let metadata = caller.get("/.well-known/oauth-authorization-server");
    assert_eq!(metadata.status, 200, "{}", metadata.body);
    assert!(metadata.header("cache-control").unwrap().contains("max-age=300"));
    let issuer = metadata.json["issuer"].as_str().unwrap();
    assert_eq!(issuer, "https://threatflow.example.org");
    let tokens = log_in(&caller, "acme");
    assert_eq!(tokens.claims()["iss"], issuer);
    for name in ["jwks_uri", "revocation_endpoint", "introspection_endpoint"] {
        let path = metadata.json[name].as_str().unwrap().strip_prefix(issuer).unwrap();
        assert_ne!(caller.get(path).status, 404, "{path}");
    }
    let keys = caller.get("/.well-known/jwks.json");
    let key = &keys.json["keys"][0];
    assert_eq!(key["kid"], tokens.kid());
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig"))
    );
    assert!(key.get("d").is_none(), "the private half stays where it is");
}

#[test]
fn without_a_public_url_there_is_no_metadata_that_could_be_wrong() {
    let world = World::one_node();
    let caller = world.anonymous();
    assert_eq!(caller.get("/.well-known/oauth-authorization-server").status, 404);
    assert_eq!(caller.get("/.well-known/jwks.json").status, 200);
}

#[test]
fn a_token_is_explained_to_administrators_of_its_own_organization_and_to_nobody_else() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let other = world.organization("other", "enterprise");
    let (ana, caller) = (org.member("ana", "analyst"), world.anonymous());
    let tokens = log_in(&caller, "acme");
    let ask = |caller: &Caller, token: &str| form(caller, "/oauth/introspect", &format!("token={token}"));
    assert_eq!(ask(&caller, &tokens.access).status, 401);
    assert_eq!(ask(&ana, &tokens.access).status, 403);
    for administrator in [&org.admin, &world.platform()] {
        let explained = ask(administrator, &tokens.access);
        assert_eq!(explained.json["active"], true, "{}", explained.body);
        assert_eq!(explained.json["sid"], tokens.session());
        assert_eq!(ask(administrator, &tokens.refresh).json["active"], true);
        let inactive = json!({ "active": false });
        assert_eq!(ask(administrator, "nonsense").json, inactive);
    }
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(ask(&other.admin, token).json, json!({ "active": false }));
    }
    // A refresh token that has a successor is not active, and looking at it does no harm.
    assert_eq!(refresh(&caller, &tokens.refresh).status, 200);
    assert_eq!(ask(&org.admin, &tokens.refresh).json, json!({ "active": false }));
    assert_eq!(status(&caller, &tokens), 200);
}

#[test]
fn whoever_holds_a_token_may_revoke_it_and_every_answer_is_200() {
    let world = World::one_node();
    world.organization("acme", "enterprise");
    let caller = world.anonymous();
    for hint in ["access_token", "refresh_token"] {
        let tokens = log_in(&caller, "acme");
        let token = if hint == "access_token" { &tokens.access } else { &tokens.refresh };
        let body = format!("token={token}&token_type_hint={hint}");
        assert_eq!(form(&caller, "/oauth/revoke", &body).status, 200);
        assert_eq!(status(&caller, &tokens), 401);
        assert_eq!(refresh(&caller, &tokens.refresh).status, 401);
        assert_eq!(form(&caller, "/oauth/revoke", &body).status, 200);
    }
    assert_eq!(form(&caller, "/oauth/revoke", "token=nonsense").status, 200);
    assert_eq!(form(&caller, "/oauth/revoke", "").status, 422);
    let json = caller.post("/oauth/revoke", &json!({ "token": PASSWORD }));
    assert_eq!(json.status, 415);
}
