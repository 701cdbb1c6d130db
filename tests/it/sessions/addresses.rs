//! Where members may come from.

use std::time::Duration;

use serde_json::json;

use super::{PASSWORD, configured, credentials, log_in};
use crate::harness::{Answer, Caller, World, await_condition, code};

fn from(caller: &Caller, address: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
    let headers = [("x-forwarded-for", address)];
    caller.send(method, path, body.map(str::as_bytes), &headers).unwrap()
}

#[test]
fn an_address_that_is_not_allowed_gets_in_nowhere_and_learns_nothing_before_it_proved_who_it_is() {
    let world = configured("trusted_proxies = \"127.0.0.1\"");
    let org = world.organization("acme", "enterprise");
    let caller = world.anonymous();
    let tokens = log_in(&caller, "acme");
    let me = caller.with_token(&tokens.access);
    let patch = json!({ "allowed_ips": ["192.0.2.0/24", "2001:db8::/32"] });
    let path = org.path("");
    let set = org.admin.json("PATCH", &path, &patch);
    assert_eq!(set.status, 200, "{}", set.body);

    // Nodes read the list when they read what else they know of a caller: a moment after the answer.
    await_condition("the list to hold", Duration::from_secs(5), || me.get("/api/v2/auth/me").status == 403);
    for (address, status) in [
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("2001:db8::7", 200),
        ("198.51.100.1", 403),
        ("2001:db9::7", 403),
        // Written by the client itself: the proxy added whom it heard from.
        ("192.0.2.7, 198.51.100.1", 403),
    ] {
        let answer = from(&me, address, "GET", "/api/v2/auth/me", None);
        assert_eq!(answer.status, status, "{address}: {}", answer.body);
    }
    let outside = me.get("/api/v2/auth/me");
    assert_eq!((outside.status, code(&outside)), (403, "address_not_allowed"));

    // Before the password is proven there is nothing to be learned of the list.
    let (good, mut bad) = (credentials("acme"), credentials("acme"));
    bad["password"] = json!(format!("not {PASSWORD}"));
    let login = |address, body: &serde_json::Value| {
        from(&caller, address, "POST", "/api/v2/auth/login", Some(&body.to_string()))
    };
    assert_eq!(login("198.51.100.1", &bad).status, 401);
    let refused = login("198.51.100.1", &good);
    assert_eq!((refused.status, code(&refused)), (403, "address_not_allowed"));
    assert_eq!(login("192.0.2.7", &good).status, 200);
    let body = json!({ "refresh_token": tokens.refresh }).to_string();
    let exchange = |address| from(&caller, address, "POST", "/api/v2/auth/refresh", Some(&body));
    assert_eq!(exchange("198.51.100.1").status, 403);
    assert_eq!(exchange("192.0.2.7").status, 200);

    // The list is read again as soon as it changes, also for who was let in a moment ago.
    let patch = json!({ "allowed_ips": [] }).to_string();
    assert_eq!(from(&org.admin, "192.0.2.7", "PATCH", &path, Some(&patch)).status, 200);
    let admitted = || from(&me, "198.51.100.1", "GET", "/api/v2/auth/me", None).status == 200;
    await_condition("the list to hold no more", Duration::from_secs(5), admitted);
}

#[test]
fn what_a_client_writes_about_its_address_is_not_believed() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let set = org.admin.json("PATCH", &org.path(""), &json!({ "allowed_ips": ["192.0.2.0/24"] }));
    assert_eq!(set.status, 200, "{}", set.body);
    await_condition("the list to hold", Duration::from_secs(5), || {
        let answer = from(&org.admin, "192.0.2.7", "GET", "/api/v2/auth/me", None);
        (answer.status, code(&answer)) == (403, "address_not_allowed")
    });
    // The platform's administrators have no list: they help whoever shut the door behind himself.
    let freed = world.platform().json("PATCH", &org.path(""), &json!({ "allowed_ips": [] }));
    assert_eq!(freed.status, 200, "{}", freed.body);
    await_condition("the door to open", Duration::from_secs(5), || {
        org.admin.get("/api/v2/auth/me").status == 200
    });
}
