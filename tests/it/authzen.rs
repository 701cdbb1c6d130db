//! AuthZEN 1.0: what its text wants of every decision point. The vectors of its interoperability events are replayed by
//! `tests/judges/authzen.py`.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Organization, World, code};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

fn question(subject: &str, action: &str, kind: &str, id: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": subject }, "action": { "name": action },
        "resource": { "type": kind, "id": id },
    })
}

fn decided(caller: &Caller, path: &str, body: &Value) -> bool {
    let answer = caller.post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json["decision"].as_bool().unwrap_or_else(|| panic!("{}", answer.body))
}

fn policy(org: &Organization, name: &str, text: &str) {
    let saved = org.admin.post(&org.path("/policies"), &json!({ "name": name, "text": text }));
    assert_eq!(saved.status, 201, "{}", saved.body);
}

fn user_id(caller: &Caller) -> String {
    caller.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned()
}

fn ids(answer: &Answer, key: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let results = answer.json["results"].as_array().unwrap();
    results.iter().map(|result| result[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn our_own_permissions_are_asked_by_id_or_address_and_a_no_says_why() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let id = user_id(&ana);
    for subject in [id.as_str(), "ANA@acme.test"] {
        assert!(decided(&org.admin, EVALUATION, &question(subject, "read", "case", "1")), "{subject}");
        assert!(!decided(&org.admin, EVALUATION, &question(subject, "delete", "case", "1")), "{subject}");
    }
    let why = |body: &Value| org.admin.post(EVALUATION, body).json["context"]["code"].clone();
    assert_eq!(why(&question(&id, "delete", "case", "1")), "nothing_allows");
    assert_eq!(why(&question(&id, "fly", "case", "1")), "unknown_permission");
    assert_eq!(why(&question("nobody@acme.test", "read", "case", "1")), "unknown_subject");
    // A condition: what is not said of the thing is not held in anybody's favour.
    let mut export = question(&id, "export", "data", "1");
    assert_eq!(why(&export), "depends");
    export["resource"]["properties"] = json!({ "format": "json" });
    assert!(decided(&org.admin, EVALUATION, &export));
    export["resource"]["properties"] = json!({ "format": "stix" });
    assert!(!decided(&org.admin, EVALUATION, &export));
    // A change of rights bites at the next question.
    let grant = json!({ "effect": "deny", "subject": format!("user:{id}"), "permissions": ["read:case"] });
    assert_eq!(org.admin.post(&org.path("/grants"), &grant).status, 201);
    assert!(!decided(&org.admin, EVALUATION, &question(&id, "read", "case", "1")));
}

#[test]
fn who_may_not_ask_about_others_asks_about_itself() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let other = world.organization("other", "enterprise");
    let ana = org.member("ana", "analyst");
    let own = question(&user_id(&ana), "read", "case", "1");
    assert!(decided(&ana, EVALUATION, &own));
    let about_admin = question("admin@acme.test", "read", "case", "1");
    assert_eq!(ana.post(EVALUATION, &about_admin).status, 403);
    assert_eq!(ana.without_token().post(EVALUATION, &own).status, 401);
    let mut elsewhere = own.clone();
    elsewhere["context"] = json!({ "organization": other.slug });
    assert_eq!(ana.post(EVALUATION, &elsewhere).status, 404);
    assert_eq!(ana.post(&format!("/organizations/{}{EVALUATION}", other.slug), &own).status, 404);
    elsewhere["context"] = json!({ "organization": org.slug });
    assert!(decided(&ana, EVALUATION, &elsewhere));
    assert!(decided(&org.admin, &format!("/organizations/acme{EVALUATION}"), &own));
    // What another organization's administrator asks about somebody is about nobody of its own.
    assert!(!decided(&other.admin, EVALUATION, &own));
}

#[test]
fn what_is_malformed_is_400_and_what_is_unknown_is_ignored() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let good = question("admin@acme.test", "read", "case", "1");
    let mut more = good.clone();
    more["future"] = json!({ "nested": true });
    more["context"] = json!({ "time": "2025-06-27T18:03-07:00", "source": "x" });
    assert!(decided(&org.admin, EVALUATION, &more));
    for pointer in [
        "/subject",
        "/action",
        "/resource",
        "/subject/type",
        "/subject/id",
        "/action/name",
        "/resource/type",
        "/resource/id",
    ] {
        for wrong in [Value::Null, json!(123)] {
            let mut body = good.clone();
            *body.pointer_mut(pointer).unwrap() = wrong;
            assert_eq!(org.admin.post(EVALUATION, &body).status, 400, "{body}");
        }
    }
    for body in ["", "{", "[]"] {
        assert_eq!(org.admin.send("POST", EVALUATION, Some(body.as_bytes()), &[]).unwrap().status, 400);
    }
    let text = good.to_string();
    let plain = [("content-type", "text/plain"), ("x-request-id", "bfe9eb29-ab87 /any?")];
    let answer = org.admin.send("POST", EVALUATION, Some(text.as_bytes()), &plain).unwrap();
    assert_eq!((answer.status, answer.header("x-request-id")), (400, Some("bfe9eb29-ab87 /any?")));
    let named = [("x-request-id", "not a uuid")];
    let answer = org.admin.send("POST", EVALUATION, Some(text.as_bytes()), &named).unwrap();
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("not a uuid")));
}

#[test]
fn several_questions_share_defaults_and_stop_when_they_are_told_to() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    org.member("ana", "analyst");
    let asked = |semantic: Option<&str>, actions: &[&str]| {
        let evaluations: Vec<Value> = actions
            .iter()
            .map(|name| json!({ "action": { "name": name }, "resource": { "id": "2" } }))
            .collect();
        let mut body = json!({ "subject": { "type": "user", "id": "ana@acme.test" }, "evaluations": evaluations,
                               "resource": { "type": "case" } });
        if let Some(semantic) = semantic {
            body["options"] = json!({ "evaluations_semantic": semantic });
        }
        let answer = org.admin.post(EVALUATIONS, &body);
        if answer.status != 200 {
            return Err(answer.status);
        }
        let results = answer.json["evaluations"].as_array().unwrap().clone();
        Ok(results.iter().map(|result| result["decision"].as_bool().unwrap()).collect::<Vec<_>>())
    };
    let mixed = ["read", "delete", "create", "delete"];
    assert_eq!(asked(None, &mixed), Ok(vec![true, false, true, false]));
    assert_eq!(asked(Some("execute_all"), &mixed), Ok(vec![true, false, true, false]));
    assert_eq!(asked(Some("deny_on_first_deny"), &mixed), Ok(vec![true, false]));
    assert_eq!(asked(Some("permit_on_first_permit"), &mixed[1..]), Ok(vec![false, true]));
    assert_eq!(asked(Some("guess"), &mixed), Err(400));
    assert_eq!(asked(None, &vec!["read"; 101]), Err(400));
    // A question that lacks something is a no of its own; none at all is the single question.
    let whole = question("ana@acme.test", "read", "case", "1");
    let one_bad = json!({ "subject": whole["subject"], "action": whole["action"],
                          "evaluations": [{ "resource": whole["resource"] }, {}] });
    let answer = org.admin.post(EVALUATIONS, &one_bad).json;
    assert_eq!(answer["evaluations"][0], json!({ "decision": true }));
    assert_eq!(answer["evaluations"][1]["decision"], json!(false));
    assert_eq!(answer["evaluations"][1]["context"]["error"]["status"], json!(400));
    for none in [json!([]), Value::Null] {
        let mut body = whole.clone();
        body["evaluations"] = none;
        assert!(decided(&org.admin, EVALUATIONS, &body));
    }
}

#[test]
fn things_of_other_services_are_decided_by_the_policies_that_name_them() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let before = question("ana@acme.test", "edit", "todo", "1");
    assert!(!decided(&org.admin, EVALUATION, &before));
    policy(
        &org,
        "own todos",
        "permit (principal, action == Action::\"edit\", resource is External::todo) when { resource.ownerID == principal.email };",
    );
    assert!(!decided(&org.admin, EVALUATION, &before));
    let mut owned = before.clone();
    owned["resource"]["properties"] = json!({ "ownerID": "ana@acme.test" });
    assert!(decided(&org.admin, EVALUATION, &owned));
    // The policy gives nothing of ours, and who is gone is nobody.
    assert_eq!(ana.get(&org.path("/users")).status, 403);
    let deactivated = org.admin.post(&org.path(&format!("/users/{}/deactivate", user_id(&ana))), &json!({}));
    assert!(deactivated.status < 300, "{}", deactivated.body);
    assert!(!decided(&org.admin, EVALUATION, &owned));
}

#[test]
fn searches_find_who_what_and_which_page_by_page() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let members = ["ana", "bea", "cid"].map(|name| user_id(&org.member(name, "analyst")));
    for id in ["a", "b", "c"] {
        let text = format!(
            "permit (principal, action in [Action::\"view\", Action::\"edit\"], resource == External::record::\"{id}\");"
        );
        policy(&org, id, &text);
    }
    policy(
        &org,
        "no edits of b",
        "forbid (principal, action == Action::\"edit\", resource == External::record::\"b\");",
    );
    let (subject, view) = (json!({ "type": "user", "id": "ana@acme.test" }), json!({ "name": "view" }));
    let record = json!({ "type": "record", "id": "b" });
    let search = |what: &str, body: &Value| org.admin.post(&format!("/access/v1/search/{what}"), body);
    let actions = json!({ "subject": subject, "resource": record });
    assert_eq!(ids(&search("action", &actions), "name"), ["view"]);
    let things =
        json!({ "subject": subject, "action": { "name": "edit" }, "resource": { "type": "record" } });
    assert_eq!(ids(&search("resource", &things), "id"), ["a", "c"]);
    let mut who =
        json!({ "subject": { "type": "user" }, "action": view, "resource": record, "page": { "limit": 2 } });
    let mut found = Vec::new();
    loop {
        let page = search("subject", &who);
        found.extend(ids(&page, "id"));
        let token = page.json["page"]["next_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        who["page"] = json!({ "token": token, "limit": 2 });
    }
    assert_eq!(found.len(), 4);
    assert!(members.iter().all(|member| found.contains(member)));
    // A token goes on with its own search alone.
    let first = search(
        "subject",
        &json!({ "subject": { "type": "user" }, "action": view, "resource": record, "page": { "limit": 1 } }),
    );
    let token = first.json["page"]["next_token"].clone();
    let other = json!({ "subject": { "type": "user" }, "action": { "name": "edit" }, "resource": record, "page": { "token": token } });
    assert_eq!(search("subject", &other).status, 400);
    // Nobody and nothing known is an empty list; what must be there and is not is 400.
    let unknown = json!({ "subject": { "type": "spaceship" }, "action": view, "resource": record });
    assert!(ids(&search("subject", &unknown), "id").is_empty());
    let nobody = json!({ "subject": { "type": "user", "id": "nobody" }, "resource": record });
    assert!(ids(&search("action", &nobody), "name").is_empty());
    for (what, body) in [
        ("subject", json!({ "subject": { "type": "user" }, "resource": record })),
        ("resource", json!({ "action": view, "resource": record })),
        ("action", json!({ "subject": subject })),
        (
            "subject",
            json!({ "subject": { "type": "user" }, "action": view, "resource": { "type": "record" } }),
        ),
    ] {
        assert_eq!(search(what, &body).status, 400, "{what} {body}");
    }
}

#[test]
fn of_our_own_types_a_search_finds_what_rules_name() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let id = user_id(&org.member("ana", "analyst"));
    let search = |what: &str, body: &Value| org.admin.post(&format!("/access/v1/search/{what}"), body);
    let own = json!({ "effect": "allow", "subject": format!("user:{id}"), "permissions": ["delete:case"], "resource": "c-1" });
    assert_eq!(org.admin.post(&org.path("/grants"), &own).status, 201);
    let cases = json!({ "subject": { "type": "user", "id": id }, "action": { "name": "delete" }, "resource": { "type": "case" } });
    assert_eq!(ids(&search("resource", &cases), "id"), ["c-1"]);
    let on_case =
        json!({ "subject": { "type": "user", "id": id }, "resource": { "type": "case", "id": "c-1" } });
    assert_eq!(ids(&search("action", &on_case), "name"), ["create", "delete", "read"]);
}

#[test]
fn the_metadata_name_the_public_url_and_are_not_there_without_one() {
    let world = World::one_node_with(&["--public-url", "https://pdp.example.org"]);
    let path = "/.well-known/authzen-configuration";
    let found = world.anonymous().get(path);
    assert_eq!(found.json["policy_decision_point"], "https://pdp.example.org");
    assert_eq!(found.json["access_evaluation_endpoint"], "https://pdp.example.org/access/v1/evaluation");
    assert_eq!(code(&World::one_node().anonymous().get(path)), "not_found");
}
