//! Passkeys that do not hold slow their source down, and nobody else.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{FACTORS, PASSWORD};
use crate::harness::{Answer, Authenticator, Organization, World, await_condition, code};

/// A node that believes what its proxy says of where a request comes from.
fn world() -> (tempfile::TempDir, World) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("threatflow.toml");
    std::fs::write(&config, "trusted_proxies = \"127.0.0.1\"\n").unwrap();
    let world = World::one_node_with(&["--config", config.to_str().unwrap()]);
    (folder, world)
}

fn enrol(world: &World, org: &Organization) -> Authenticator {
    let mut device = Authenticator::new(&world.url.replace("127.0.0.1", "localhost"));
    let begun = org.admin.post(&format!("{FACTORS}/passkeys/begin"), &json!({}));
    let credential = device.make(&begun.json["options"]);
    let made = json!({ "ceremony": begun.json["ceremony"], "credential": credential });
    let enrolled = org.admin.post(&format!("{FACTORS}/passkeys/finish"), &made);
    assert_eq!(enrolled.status, 201, "{}", enrolled.body);
    device
}

/// Shows what `change` makes of a passkey, from an address.
fn show(world: &World, device: &mut Authenticator, address: &str, change: impl Fn(&mut Value)) -> Answer {
    let nobody = world.anonymous();
    let begun = nobody.post("/api/v2/auth/passkeys/begin", &json!({}));
    let mut credential = device.show(&begun.json["options"]);
    change(&mut credential);
    let body = json!({ "ceremony": begun.json["ceremony"], "credential": credential }).to_string();
    let headers = [("x-forwarded-for", address)];
    nobody.send("POST", "/api/v2/auth/passkeys/finish", Some(body.as_bytes()), &headers).unwrap()
}

fn unsigned(credential: &mut Value) {
    // A signature of something else.
    credential["response"]["signature"] = json!("MAYCAQECAQE");
}

#[test]
fn passkeys_that_do_not_hold_slow_their_source_down_at_the_account_and_nobody_else() {
    let (_folder, world) = world();
    let org = world.organization("acme", "enterprise");
    let mut device = enrol(&world, &org);
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    let (refused, slowed) = until_slowed(|| show(&world, &mut device, here, unsigned));
    // One more for each delay that ended before the next was shown.
    assert!((5..10).contains(&refused), "{refused}");
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // The password is another matter: what was shown is no guess at it.
    let body =
        json!({ "email": "admin@acme.test", "password": PASSWORD, "organization": "acme" }).to_string();
    let headers = [("x-forwarded-for", here)];
    let after =
        world.anonymous().send("POST", "/api/v2/auth/login", Some(body.as_bytes()), &headers).unwrap();
    assert_eq!((after.status, code(&after)), (403, "mfa_required"), "{}", after.body);
    assert_eq!(show(&world, &mut device, there, |_| {}).status, 200, "who is elsewhere does not wait");
    await_condition("the delay to end", Duration::from_secs(10), || {
        show(&world, &mut device, here, |_| {}).status == 200
    });
    let events = org.admin.get(&org.path("/audit-events?action=login.slowed"));
    assert_eq!(events.json["data"].as_array().unwrap().len(), 1, "{}", events.body);
    assert_eq!(
        events.json["data"][0]["event"]["changes"],
        json!({ "count": "source_at_account" }),
        "{}",
        events.body
    );
}

#[test]
fn passkeys_of_nobody_are_counted_for_their_source_and_what_was_never_begun_is_not() {
    let (_folder, world) = world();
    let org = world.organization("acme", "enterprise");
    let mut device = enrol(&world, &org);
    let home: uuid::Uuid = org.id.parse().unwrap();
    let mut number = 0_u8;
    let (refused, _) = until_slowed(|| {
        number += 1;
        let handle = URL_SAFE_NO_PAD.encode([home.into_bytes(), [number; 16]].concat());
        show(&world, &mut device, "192.0.2.1", |credential| {
            credential["response"]["userHandle"] = json!(handle);
        })
    });
    assert!((30..40).contains(&refused), "{refused}");
    assert_eq!(show(&world, &mut device, "192.0.2.2", |_| {}).status, 200);

    let mut forged = || {
        let begun = world.anonymous().post("/api/v2/auth/passkeys/begin", &json!({}));
        let credential = device.show(&begun.json["options"]);
        let body = json!({ "ceremony": "00".repeat(60), "credential": credential });
        world.anonymous().post("/api/v2/auth/passkeys/finish", &body).status
    };
    assert_eq!((0..12).map(|_| forged()).collect::<Vec<u16>>(), [401; 12]);
}

/// How often a passkey was refused before its source had to wait, and that answer.
fn until_slowed(mut show: impl FnMut() -> Answer) -> (usize, Answer) {
    for refused in 0..60 {
        let answer = show();
        if answer.status == 429 {
            assert_eq!(code(&answer), "login_slowed", "{}", answer.body);
            return (refused, answer);
        }
        assert_eq!((answer.status, code(&answer)), (401, "proof_refused"), "{}", answer.body);
    }
    panic!("nothing slows it down")
}
