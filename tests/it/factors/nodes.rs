//! Factors over three nodes: what is good once is good once in all, and a ceremony may change nodes.

use serde_json::{Value, json};

use super::{FACTORS, PASSWORD, enrol_app};
use crate::harness::{Answer, Authenticator, Caller, Demo, code, code_of, create_organization};

const SITE: &str = "http://intel.localhost:8443";

fn demo() -> Demo {
    Demo::configured(&[], &[("THREATFLOW_PUBLIC_URL", SITE)])
}

fn log_in(caller: &Caller, more: Value) -> Answer {
    let mut body = json!({ "email": "admin@acme.test", "password": PASSWORD, "organization": "acme" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    caller.without_token().post("/api/v2/auth/login", &body)
}

#[test]
fn a_code_that_three_nodes_see_at_once_lets_one_in() {
    let demo = demo();
    let org = create_organization(&demo.platform(), "acme", "enterprise", None);
    let (secret, _) = enrol_app(&org.admin, None);
    for steps in [0, 1] {
        let shown = code_of(&secret, steps);
        let mut statuses = std::thread::scope(|scope| {
            let each = demo.urls.iter().map(|url| {
                let (caller, shown) = (org.admin.at(url), shown.clone());
                scope.spawn(move || log_in(&caller, json!({ "mfa_code": shown })).status)
            });
            each.collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401, 401]);
    }
}

/// Makes a passkey, from node 0 to node 1; neither on a page of another site nor twice.
fn make(at: &impl Fn(usize) -> Caller, device: &mut Authenticator) -> Value {
    let begun = at(0).post(&format!("{FACTORS}/passkeys/begin"), &json!({}));
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(begun.json["options"]["publicKey"]["rp"]["id"], "intel.localhost");
    let selection = &begun.json["options"]["publicKey"]["authenticatorSelection"];
    assert_eq!(
        (&selection["residentKey"], &selection["userVerification"]),
        (&json!("preferred"), &json!("required"))
    );
    let made =
        json!({ "ceremony": begun.json["ceremony"], "credential": device.make(&begun.json["options"]) });
    let elsewhere = Authenticator::new("http://intel.localhost:9999").make(&begun.json["options"]);
    let phished = json!({ "ceremony": begun.json["ceremony"], "credential": elsewhere });
    assert_eq!(code(&at(1).post(&format!("{FACTORS}/passkeys/finish"), &phished)), "proof_refused");
    let enrolled = at(1).post(&format!("{FACTORS}/passkeys/finish"), &made);
    assert_eq!(enrolled.status, 201, "{}", enrolled.body);
    let again = at(2).post(&format!("{FACTORS}/passkeys/finish"), &made);
    assert_eq!((again.status, &again.json["reason"]), (401, &json!("used")), "{}", again.body);
    made
}

#[test]
fn a_passkey_is_made_and_shown_over_any_nodes_and_a_copy_of_it_is_noticed() {
    let demo = demo();
    let org = create_organization(&demo.platform(), "acme", "enterprise", None);
    let at = |node: usize| org.admin.at(&demo.urls[node]);
    let mut device = Authenticator::new(SITE);
    let made = make(&at, &mut device);
    // A second one is told which there is.
    let second = at(2).post(&format!("{FACTORS}/passkeys/begin"), &json!({}));
    assert_eq!(second.json["options"]["publicKey"]["excludeCredentials"][0]["id"], made["credential"]["id"]);

    // Alone, from node 1 to node 2.
    let begin =
        |node: usize, body: Value| at(node).without_token().post("/api/v2/auth/passkeys/begin", &body);
    let finish =
        |node: usize, body: &Value| at(node).without_token().post("/api/v2/auth/passkeys/finish", body);
    let begun = begin(1, json!({}));
    assert_eq!(begun.json["options"]["publicKey"]["allowCredentials"], json!([]));
    let shown =
        json!({ "ceremony": begun.json["ceremony"], "credential": device.show(&begun.json["options"]) });
    let (first, second) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(|| finish(2, &shown)), scope.spawn(|| finish(0, &shown)));
        (first.join().unwrap(), second.join().unwrap())
    });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "{} {}", first.body, second.body);

    // After a password, from node 2 to node 0.
    let asked = log_in(&at(2), json!({}));
    assert_eq!(asked.json["methods"], json!(["passkey", "recovery_code"]), "{}", asked.body);
    let token = &asked.json["mfa_token"];
    let begun = begin(2, json!({ "mfa_token": token }));
    assert_eq!(begun.json["options"]["publicKey"]["allowCredentials"][0]["id"], made["credential"]["id"]);
    let shown = json!({
        "ceremony": begun.json["ceremony"], "mfa_token": token, "credential": device.show(&begun.json["options"]),
    });
    assert_eq!(
        finish(0, &json!({ "ceremony": shown["ceremony"], "credential": shown["credential"] })).status,
        401
    );
    assert_eq!(finish(0, &shown).status, 200);

    // A copy signs with a count that was there before: refused on every node, with an event.
    let begun = begin(0, json!({}));
    device.counter -= 2;
    let copied =
        json!({ "ceremony": begun.json["ceremony"], "credential": device.show(&begun.json["options"]) });
    let refused = finish(1, &copied);
    assert_eq!((refused.status, &refused.json["reason"]), (401, &json!("counter")), "{}", refused.body);
    let events = org.admin.get(&org.path("/audit-events?limit=5"));
    assert!(events.body.contains("proof_refused"), "{}", events.body);

    // So is a signature of another key.
    let begun = begin(1, json!({}));
    let mut forged = device.show(&begun.json["options"]);
    forged["response"]["signature"] = shown["credential"]["response"]["signature"].clone();
    let refused = finish(2, &json!({ "ceremony": begun.json["ceremony"], "credential": forged }));
    assert_eq!((refused.status, &refused.json["reason"]), (401, &json!("wrong")), "{}", refused.body);
    let events = org.admin.get(&org.path("/audit-events?limit=2"));
    assert!(events.body.contains("factors.refuse_proof"), "{}", events.body);
}

#[test]
fn an_app_goes_on_showing_codes_that_hold_when_the_cluster_key_has_rotated() {
    let demo = demo();
    let platform = demo.platform();
    let org = create_organization(&platform, "acme", "enterprise", None);
    let (secret, _) = enrol_app(&org.admin, None);
    let rotated = platform.post("/api/v2/cluster/keys/rotate", &json!({}));
    assert!(rotated.status < 300, "{}", rotated.body);
    crate::harness::await_condition("the rotation to settle", std::time::Duration::from_secs(90), || {
        let keys = platform.get("/api/v2/cluster/keys");
        keys.json["generation"] == 2 && keys.json["step"] == "settled"
    });
    let answer = log_in(&org.admin.at(&demo.urls[2]), json!({ "mfa_code": code_of(&secret, 0) }));
    assert_eq!(answer.status, 200, "{}", answer.body);
}
