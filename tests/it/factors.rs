//! Second factors over HTTP: codes, passkeys, recovery codes, what is asked of whom, and fresh proofs.

mod nodes;
mod throttle;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Authenticator, Caller, Organization, World, await_condition, code, code_of};

const PASSWORD: &str = "correct horse battery staple";
const FACTORS: &str = "/api/v2/auth/factors";

fn log_in(caller: &Caller, org: &Organization, more: &Value) -> Answer {
    let mut body = json!({ "email": format!("admin@{}.test", org.slug), "password": PASSWORD, "organization": org.slug });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    caller.without_token().post("/api/v2/auth/login", &body)
}

fn entered(answer: &Answer, caller: &Caller) -> Caller {
    assert_eq!(answer.status, 200, "{}", answer.body);
    caller.with_token(answer.json["tokens"]["access_token"].as_str().unwrap())
}

/// An authenticator app, confirmed: its secret, and the recovery codes that came with it.
pub(crate) fn enrol_app(caller: &Caller, token: Option<&str>) -> (String, Answer) {
    let begun = caller.post(&format!("{FACTORS}/totp"), &json!({ "name": "Phone", "mfa_token": token }));
    assert_eq!(begun.status, 201, "{}", begun.body);
    let secret = begun.json["secret"].as_str().unwrap().to_owned();
    assert!(begun.json["uri"].as_str().unwrap().contains(&format!("secret={secret}&")), "{}", begun.body);
    let confirm = json!({ "id": begun.json["id"], "code": code_of(&secret, -1), "mfa_token": token });
    let confirmed = caller.post(&format!("{FACTORS}/totp/confirm"), &confirm);
    assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    (secret, confirmed)
}

/// What a node looked up about a session it forgets when it has committed the end, some milliseconds later.
fn await_ended(what: &str, caller: &Caller) {
    await_condition(what, Duration::from_secs(5), || caller.get(FACTORS).status == 401);
}

fn recovery_codes(answer: &Answer) -> Vec<String> {
    serde_json::from_value(answer.json["recovery_codes"].clone())
        .unwrap_or_else(|_| panic!("{}", answer.body))
}

#[test]
fn a_code_is_asked_for_once_an_app_is_confirmed_and_in_v1_by_its_own_names() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let other = entered(&log_in(&org.admin, &org, &json!({})), &org.admin);
    let (secret, confirmed) = enrol_app(&org.admin, None);
    assert_eq!(recovery_codes(&confirmed).len(), 10);
    await_ended("other sessions to end", &other);
    let listed = org.admin.get(FACTORS);
    assert_eq!(listed.json["factors"][0]["method"], "totp");
    assert_eq!(listed.json["recovery_codes_left"], 10);
    assert!(!listed.body.contains(&secret));

    let asked = log_in(&org.admin, &org, &json!({}));
    assert_eq!((asked.status, code(&asked)), (403, "mfa_required"), "{}", asked.body);
    assert_eq!(asked.json["methods"], json!(["totp", "recovery_code"]));
    let token = &asked.json["mfa_token"];
    let post = |body: &Value| org.admin.without_token().post("/api/v2/auth/mfa", body);
    let wrong = post(&json!({ "mfa_token": token, "code": "000000" }));
    assert_eq!((wrong.status, code(&wrong)), (401, "proof_refused"), "{}", wrong.body);
    // A wrong code does not spend the token; a right one does.
    entered(&post(&json!({ "mfa_token": token, "code": code_of(&secret, 0) })), &org.admin);
    let spent = post(&json!({ "mfa_token": token, "code": code_of(&secret, 1) }));
    assert_eq!((spent.status, &spent.json["reason"]), (401, &json!("used")), "{}", spent.body);

    let v1 = |more: Value| {
        let mut body = json!({ "email": "admin@acme.test", "password": PASSWORD, "organization": "acme" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        org.admin.without_token().post("/api/v1/auth/login", &body)
    };
    assert!(v1(json!({})).json["mfaToken"].is_string());
    assert_eq!(v1(json!({ "mfaCode": code_of(&secret, 1) })).status, 200);
}

#[test]
fn codes_cannot_be_guessed_however_many_are_sent_at_once() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (secret, _) = enrol_app(&org.admin, None);
    let right = code_of(&secret, 0);
    let wrong = if right == "123456" { "654321" } else { "123456" };
    let token = log_in(&org.admin, &org, &json!({})).json["mfa_token"].clone();
    let show = |shown: &str| {
        org.admin.without_token().post("/api/v2/auth/mfa", &json!({ "mfa_token": token, "code": shown }))
    };
    let statuses = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..12).map(|_| scope.spawn(|| show(wrong).status)).collect();
        tries.into_iter().map(|each| each.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 7, "{statuses:?}");
    let held = show(&right);
    assert_eq!((held.status, code(&held)), (429, "too_many_attempts"), "{}", held.body);
    assert!(held.header("retry-after").unwrap().parse::<u64>().unwrap() <= 15);
    // Who only knows the password learns nothing more; who has a session is not disturbed.
    assert_eq!(code(&log_in(&org.admin, &org, &json!({}))), "mfa_required");
    assert_eq!(org.admin.get(FACTORS).status, 200);
}

#[test]
fn each_recovery_code_lets_one_of_two_in_and_new_ones_take_the_place_of_all() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (_, confirmed) = enrol_app(&org.admin, None);
    let codes = recovery_codes(&confirmed);
    for (used, recovery) in (1..).zip(&codes[..8]) {
        let mut answers = std::thread::scope(|scope| {
            let try_it = || log_in(&org.admin, &org, &json!({ "mfa_code": recovery }));
            let both = [scope.spawn(try_it), scope.spawn(try_it)];
            both.map(|each| each.join().unwrap())
        });
        answers.sort_by_key(|answer| answer.status);
        assert_eq!([answers[0].status, answers[1].status], [200, 401], "{}", answers[1].body);
        assert_eq!(answers[0].json["recovery_codes_left"], 10 - used);
    }
    let renewed = org.admin.post(&format!("{FACTORS}/recovery-codes"), &json!({}));
    let fresh = recovery_codes(&renewed);
    assert_eq!(log_in(&org.admin, &org, &json!({ "mfa_code": codes[9] })).status, 401);
    assert_eq!(log_in(&org.admin, &org, &json!({ "mfa_code": fresh[0].to_lowercase() })).status, 200);
    let events = org.admin.get(&org.path("/audit-events?limit=100")).body;
    assert!(events.contains("factors.recovery_codes_low"), "{events}");
    assert!(!events.contains(&fresh[1]) && !events.contains(&codes[0]));
}

#[test]
fn past_its_grace_a_user_can_enrol_and_do_nothing_else() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let path = org.path("/mfa-policy");
    let policy = org.admin.get(&path);
    assert_eq!(policy.json["level"], "optional");
    assert_eq!(
        policy.json["in_force"]["analyst"]["level"], "required",
        "the enterprise plan's profile asks for it"
    );
    let member = org.member("ana", "analyst");
    let strict =
        json!({ "level": "required", "grace_days": 0, "roles": { "admin": { "level": "optional" } } });
    let stale =
        org.admin.send("PUT", &path, Some(strict.to_string().as_bytes()), &[("if-match", "\"7\"")]).unwrap();
    assert_eq!(stale.status, 412, "{}", stale.body);
    assert_eq!(member.put(&path, &strict).status, 403);
    assert_eq!(org.admin.put(&path, &strict).status, 200);

    // The deadline that a first login set stands, though the policy is stricter now; a newcomer has none.
    let body = |name: &str| json!({ "email": format!("{name}@acme.test"), "password": PASSWORD, "organization": "acme" });
    let anonymous = org.admin.without_token();
    let graced = anonymous.post("/api/v2/auth/login", &body("ana"));
    assert!(graced.json["mfa_enrolment_due_at"].is_string(), "{}", graced.body);
    let created = org.admin.post(
        &org.path("/users"),
        &json!({ "email": "bob@acme.test", "password": PASSWORD, "role": "analyst" }),
    );
    assert_eq!(created.status, 201, "{}", created.body);
    let refused = anonymous.post("/api/v2/auth/login", &body("bob"));
    assert_eq!((refused.status, code(&refused)), (403, "mfa_enrolment_required"), "{}", refused.body);
    let token = refused.json["mfa_token"].as_str().unwrap();
    assert_eq!(anonymous.with_token(token).get("/api/v2/auth/me").status, 401);
    let mfa = |body: &Value| anonymous.post("/api/v2/auth/mfa", body);
    assert_eq!(mfa(&json!({ "mfa_token": token, "code": "123456" })).status, 401, "it opens no session");

    let (_, confirmed) = enrol_app(&anonymous, Some(token));
    assert_eq!(recovery_codes(&confirmed).len(), 10);
    let proof = json!({ "mfa_token": confirmed.json["mfa_token"] });
    let bob = entered(&mfa(&proof), &anonymous);
    assert_eq!(mfa(&proof).status, 401, "a proof is good once");
    let again = anonymous.post(&format!("{FACTORS}/totp"), &json!({ "mfa_token": token }));
    assert_eq!(
        code(&again),
        "mfa_required",
        "the token of the enrolment adds no second factor: {}",
        again.body
    );
    let id = bob.get(FACTORS).json["factors"][0]["id"].as_str().unwrap().to_owned();
    let last = bob.json("DELETE", &format!("{FACTORS}/{id}"), &json!({}));
    assert_eq!((last.status, &last.json["state"]), (409, &json!("last_factor")), "{}", last.body);

    // An administrator's reset ends the sessions, and tells nothing.
    let user = bob.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let path = org.path(&format!("/users/{user}/factors"));
    assert_eq!(member.json("DELETE", &path, &json!({})).status, 403);
    let reset = org.admin.json("DELETE", &path, &json!({}));
    assert_eq!((reset.status, &reset.json), (200, &json!({ "removed": 1 })), "{}", reset.body);
    await_ended("the session to end", &bob);
    assert_eq!(code(&anonymous.post("/api/v2/auth/login", &body("bob"))), "mfa_enrolment_required");
}

#[test]
fn who_must_choose_a_new_password_shows_the_second_factor_first() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ann = org.member("ann", "analyst");
    let (secret, _) = enrol_app(&ann, None);
    let id = ann.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned();
    let demanded = org.admin.post(&org.path(&format!("/users/{id}/require-password-change")), &json!({}));
    assert_eq!(demanded.status, 200, "{}", demanded.body);

    let nobody = world.anonymous();
    let log_in = |password: &str, code: Option<String>| {
        let body = json!({
            "email": "ann@acme.test", "password": password, "organization": "acme", "mfa_code": code,
        });
        nobody.post("/api/v2/auth/login", &body)
    };
    let mfa = |token: &Value, code: &str| {
        nobody.post("/api/v2/auth/mfa", &json!({ "mfa_token": token, "code": code }))
    };
    // The password alone, which an administrator may have set or a thief may know, leads no further.
    let asked = log_in(PASSWORD, None);
    assert_eq!((asked.status, code(&asked)), (403, "mfa_required"), "{}", asked.body);
    assert_eq!(asked.json["password_token"], Value::Null);
    let wrong = mfa(&asked.json["mfa_token"], "000000");
    assert_eq!((wrong.status, &wrong.json["password_token"]), (401, &Value::Null), "{}", wrong.body);
    let link = mfa(&asked.json["mfa_token"], &code_of(&secret, 0));
    assert_eq!((link.status, code(&link)), (403, "password_change_required"), "{}", link.body);
    let again = log_in(PASSWORD, Some(code_of(&secret, 0)));
    assert_eq!((again.status, &again.json["reason"]), (401, &json!("used")), "{}", again.body);

    let new = "unrelated violet tractor nine";
    let choice = json!({ "token": link.json["password_token"], "password": new });
    assert_eq!(nobody.post("/api/v2/auth/password/reset", &choice).status, 204);
    assert_eq!(log_in(new, Some(code_of(&secret, 1))).status, 200);
}

#[test]
fn a_session_steps_up_by_the_strongest_thing_its_user_has() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let step_up = |body: &Value| org.admin.post("/api/v2/auth/step-up", body);
    assert_eq!(step_up(&json!({})).status, 422);
    assert_eq!(step_up(&json!({ "password": "not this one at all" })).status, 401);
    assert_eq!(step_up(&json!({ "password": PASSWORD })).status, 200);
    let origin = world.url.replace("127.0.0.1", "localhost");
    let mut device = Authenticator::new(&origin);
    let begun = org.admin.post(&format!("{FACTORS}/passkeys/begin"), &json!({}));
    let made = json!({ "ceremony": begun.json["ceremony"], "credential": device.make(&begun.json["options"]), "name": "Blue" });
    let enrolled = org.admin.post(&format!("{FACTORS}/passkeys/finish"), &made);
    assert_eq!(enrolled.status, 201, "{}", enrolled.body);
    let weak = step_up(&json!({ "password": PASSWORD }));
    assert_eq!((weak.status, code(&weak)), (403, "mfa_required"), "{}", weak.body);
    let begun = org.admin.post("/api/v2/auth/step-up/passkey", &json!({}));
    let shown =
        json!({ "ceremony": begun.json["ceremony"], "credential": device.show(&begun.json["options"]) });
    assert_eq!(step_up(&shown).status, 200);
    assert_eq!(step_up(&shown).status, 401, "a ceremony is good once");
    // A ceremony of a session logs nobody in, and one of a login steps nobody up.
    let login = json!({ "ceremony": begun.json["ceremony"], "credential": shown["credential"] });
    assert_eq!(org.admin.without_token().post("/api/v2/auth/passkeys/finish", &login).status, 401);
}

#[test]
fn a_platform_administrator_has_factors_and_a_policy_of_its_own() {
    let world = World::one_node();
    let platform = world.platform();
    let (secret, confirmed) = enrol_app(&platform, None);
    let one = format!("{FACTORS}/{}", confirmed.json["id"].as_str().unwrap());
    assert_eq!(platform.json("PATCH", &one, &json!({ "name": "Work phone" })).status, 204);
    assert_eq!(platform.get(FACTORS).json["factors"][0]["name"], "Work phone");
    let file = world.folder.path().join("initial-admin-password");
    let password = std::fs::read_to_string(file).unwrap();
    let log_in = |more: Value| {
        let mut body =
            json!({ "email": "admin@localhost", "password": password.trim(), "organization": "system" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.anonymous().post("/api/v2/auth/login", &body)
    };
    assert_eq!(code(&log_in(json!({}))), "mfa_required");
    assert_eq!(log_in(json!({ "mfa_code": code_of(&secret, 0) })).status, 200);

    let policy = "/api/v2/organizations/system/mfa-policy";
    let strict = json!({ "level": "phishing_resistant", "grace_days": 0 });
    assert_eq!(platform.put(policy, &strict).status, 200);
    assert_eq!(platform.get(policy).json["in_force"], json!({ "platform_admin": strict }));
    let weak = log_in(json!({ "mfa_code": code_of(&secret, 1) }));
    assert_eq!((weak.status, code(&weak)), (403, "mfa_enrolment_required"), "{}", weak.body);
    // The code that was shown admits to enrolling a passkey, which lets in.
    let anonymous = world.anonymous();
    let token = &weak.json["mfa_token"];
    let mut device = Authenticator::new(&world.url.replace("127.0.0.1", "localhost"));
    let begun = anonymous.post(&format!("{FACTORS}/passkeys/begin"), &json!({ "mfa_token": token }));
    let credential = device.make(&begun.json["options"]);
    let made = json!({ "ceremony": begun.json["ceremony"], "credential": credential, "mfa_token": token });
    let enrolled = anonymous.post(&format!("{FACTORS}/passkeys/finish"), &made);
    assert_eq!(enrolled.status, 201, "{}", enrolled.body);
    let proof = json!({ "mfa_token": enrolled.json["mfa_token"] });
    assert_eq!(anonymous.post("/api/v2/auth/mfa", &proof).status, 200);
    assert_eq!(platform.json("DELETE", &one, &json!({})).status, 401, "the session before has ended");
}
