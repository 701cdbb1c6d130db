//! Roles, groups, grants and denials over HTTP, and questions about them.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Organization, World, code, pointers};

fn id(answer: &Answer) -> String {
    answer.json["id"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

fn user_id(caller: &Caller) -> String {
    caller.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned()
}

fn grant(org: &Organization, effect: &str, subject: &str, permissions: &[&str]) -> Answer {
    let body = json!({ "effect": effect, "subject": subject, "permissions": permissions });
    let created = org.admin.post(&org.path("/grants"), &body);
    assert_eq!(created.status, 201, "{}", created.body);
    created
}

fn verdict(caller: &Caller, org: &Organization, body: Value) -> Value {
    let answer = caller.post(&org.path("/access/check"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json
}

#[test]
fn a_denial_bites_at_the_next_request_and_its_removal_too() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let lead = org.member("lea", "team_lead");
    assert_eq!(lead.get(&org.path("/users")).status, 200);
    let denied = grant(&org, "deny", &format!("user:{}", user_id(&lead)), &["read:user"]);
    assert_eq!(lead.get(&org.path("/users")).status, 403);
    let asked = json!({ "permission": "read:user", "explain": true });
    let why = verdict(&lead, &org, asked);
    assert_eq!((&why["allowed"], &why["reason"]["code"]), (&json!(false), &json!("denied")));
    assert_eq!(why["reason"]["rule"]["grant"], json!(id(&denied)));
    let path = org.path(&format!("/grants/{}", id(&denied)));
    let tag = denied.header("etag").unwrap();
    assert_eq!(org.admin.send("DELETE", &path, None, &[("if-match", "\"9\"")]).unwrap().status, 412);
    assert_eq!(org.admin.send("DELETE", &path, None, &[("if-match", tag)]).unwrap().status, 204);
    assert_eq!(lead.get(&org.path("/users")).status, 200);
}

#[test]
fn a_custom_role_given_to_a_group_reaches_its_members() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let role = json!({ "name": "Auditor", "inherits": ["analyst"],
                       "rules": [{ "permissions": ["read:audit_log"] }, { "permissions": ["delete:note"], "condition": { "owner": true } }] });
    let role = org.admin.post(&org.path("/roles"), &role);
    assert_eq!(role.status, 201, "{}", role.body);
    let group = id(&org.admin.post(&org.path("/groups"), &json!({ "name": "Auditors" })));
    let holders = org.path(&format!("/roles/{}/holders", id(&role)));
    let given = org.admin.post(&holders, &json!({ "subject": format!("group:{group}") }));
    assert_eq!(given.status, 200, "{}", given.body);
    assert_eq!(ana.get(&org.path("/audit-events")).status, 403);
    let member = org.path(&format!("/groups/{group}/members/{}", user_id(&ana)));
    assert_eq!(org.admin.send("PUT", &member, None, &[]).unwrap().status, 204);
    assert_eq!(ana.get(&org.path("/audit-events")).status, 200);
    let listed = org.admin.get(&org.path(&format!("/groups/{group}/members")));
    assert_eq!(listed.json["data"], json!([{ "user": user_id(&ana) }]));
    // Three answers for one permission: the thing is hers, it is not, nobody knows yet.
    let (mine, other) = (json!({ "owner": user_id(&ana) }), json!({}));
    let check = |thing: Value| json!({ "permission": "delete:note", "resource": thing });
    let body = json!({ "checks": [check(mine), check(other), { "permission": "delete:note" }] });
    let answers = verdict(&ana, &org, body)["results"].clone();
    let verdicts: Vec<_> = (0..3).map(|at| answers[at]["verdict"].as_str().unwrap().to_owned()).collect();
    assert_eq!(verdicts, ["allowed", "denied", "depends"]);
    // A role that is held is not deleted; taken, it is.
    let path = org.path(&format!("/roles/{}", id(&role)));
    assert_eq!(code(&org.admin.send("DELETE", &path, None, &[]).unwrap()), "wrong_state");
    let taken = org.admin.send("DELETE", &format!("{holders}/group:{group}"), None, &[]).unwrap();
    assert_eq!(taken.status, 204, "{}", taken.body);
    assert_eq!(org.admin.send("DELETE", &path, None, &[]).unwrap().status, 204);
    assert_eq!(ana.get(&org.path("/audit-events")).status, 403);
}

#[test]
fn who_may_write_grants_gives_no_more_than_it_holds() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    grant(&org, "allow", &format!("user:{}", user_id(&ana)), &["manage:grant"]);
    let body =
        |permission: &str| json!({ "effect": "allow", "subject": "everyone", "permissions": [permission] });
    let refused = ana.post(&org.path("/grants"), &body("delete:case"));
    assert_eq!((refused.status, code(&refused)), (403, "escalation"));
    assert_eq!(refused.json["permission"], "delete:case");
    assert_eq!(ana.post(&org.path("/grants"), &body("read:case")).status, 201);
    let invalid = org.admin.post(
        &org.path("/grants"),
        &json!({ "effect": "maybe", "subject": "all", "permissions": ["manage:cluster"], "condition": { "all": [{ "owner": 1 }] } }),
    );
    assert_eq!(invalid.status, 422);
    assert_eq!(pointers(&invalid), ["/effect", "/subject", "/permissions", "/condition"]);
}

#[test]
fn a_change_is_tried_before_it_is_saved() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let tried = |body: Value| org.admin.post(&org.path("/access/simulate"), &body);
    let denial =
        json!({ "grant": { "effect": "deny", "subject": "everyone", "permissions": ["read:case"] } });
    let answer = tried(denial);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json["gains"], json!([]));
    assert_eq!(answer.json["loses"].as_array().unwrap().len(), 2, "{}", answer.body);
    let mine = json!({ "grant": { "effect": "allow", "subject": format!("user:{}", user_id(&ana)),
                                  "permissions": ["delete:case"], "condition": { "owner": true } } });
    let gains = tried(mine).json["gains"].clone();
    assert_eq!(
        gains,
        json!([{ "user": user_id(&ana), "permission": "delete:case", "before": "denied", "after": "conditional" }])
    );
    assert_eq!(org.admin.get(&org.path("/grants")).json["data"], json!([]), "a simulation saved something");
    assert_eq!(code(&ana.post(&org.path("/access/simulate"), &json!({}))), "permission_denied");
}

#[test]
fn a_review_tells_who_holds_what_and_why_also_to_a_spreadsheet() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    grant(&org, "allow", &format!("user:{}", user_id(&ana)), &["delete:case"]);
    let review = org.admin.get(&org.path("/access/review"));
    assert_eq!(review.status, 200, "{}", review.body);
    let users = review.json["data"].as_array().unwrap();
    let hers = users.iter().find(|one| one["user"] == json!(user_id(&ana))).unwrap();
    let held = |name: &str| {
        let all = hers["permissions"].as_array().unwrap();
        all.iter().find(|one| one["permission"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(held("delete:case")["verdict"], "allowed");
    assert_eq!(held("update:note")["verdict"], "conditional");
    assert_eq!(held("update:note")["allowed_by"][0]["role"], "analyst");
    assert_eq!(held("delete:investigation"), Value::Null);
    let csv = org.admin.get(&org.path("/access/review?format=csv&limit=1"));
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.body.starts_with("user,role,permission,verdict,allowed_by,denied_by\r\n"), "{}", csv.body);
    assert!(csv.header("x-next-cursor").is_some());
    assert_eq!(code(&ana.get(&org.path("/access/review"))), "permission_denied");
}

#[test]
fn only_who_may_asks_about_others() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let about = |user: String| json!({ "permission": "read:case", "user": user });
    assert_eq!(verdict(&org.admin, &org, about(user_id(&ana)))["allowed"], true);
    assert_eq!(verdict(&ana, &org, about(user_id(&ana)))["allowed"], true);
    let refused = ana.post(&org.path("/access/check"), &about(user_id(&org.admin)));
    assert_eq!(refused.json["required"], "check:access");
    let matrix = ana.get("/api/v2/access/matrix").json;
    assert_eq!(matrix["roles"][1]["inherits"], "analyst");
}

#[test]
fn an_export_is_for_those_whose_role_allows_the_format() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    assert_eq!(org.member("ana", "analyst").get(&org.path("/intel/export")).status, 403);
    assert_eq!(org.member("sen", "senior_analyst").get(&org.path("/intel/export")).status, 200);
}

#[test]
fn a_policy_is_judged_tried_saved_and_bites() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let bad = json!({ "name": "x", "text": "forbid (principal, action, resource) when { resource.owner == principal };" });
    let refused = org.admin.post(&org.path("/policies"), &bad);
    assert_eq!(pointers(&refused), ["/text"]);
    assert!(refused.body.contains("owner"), "{}", refused.body);
    let policy = json!({ "name": "No reading of red", "text":
        "forbid (principal in Role::\"analyst\", action == Action::\"read\", resource is Case) when { resource has tlp && resource.tlp == \"red\" };" });
    let tried = org.admin.post(&org.path("/access/simulate"), &json!({ "policy": policy }));
    assert_eq!(tried.status, 200, "{}", tried.body);
    assert_eq!(tried.json["loses"][0]["after"], "conditional", "{}", tried.body);
    let saved = org.admin.post(&org.path("/policies"), &policy);
    assert_eq!((saved.status, saved.header("etag")), (201, Some("\"1\"")), "{}", saved.body);
    let of = |tlp: &str| json!({ "permission": "read:case", "resource": { "fields": { "tlp": tlp } }, "explain": true });
    assert_eq!(verdict(&ana, &org, of("green"))["allowed"], true);
    let why = verdict(&ana, &org, of("red"));
    assert_eq!((&why["allowed"], &why["reason"]["rule"]["policy"]), (&json!(false), &json!(id(&saved))));
    let path = org.path(&format!("/policies/{}", id(&saved)));
    assert_eq!(org.admin.send("DELETE", &path, None, &[("if-match", "\"1\"")]).unwrap().status, 204);
    assert_eq!(verdict(&ana, &org, of("red"))["allowed"], true);
}

#[test]
fn who_may_create_users_gives_them_no_role_above_its_own() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    grant(&org, "allow", &format!("user:{}", user_id(&ana)), &["manage:user", "read:user"]);
    let create = |name: &str, role: &str| {
        let body = json!({ "email": format!("{name}@acme.test"), "password": "correct horse battery staple", "role": role });
        ana.post(&org.path("/users"), &body)
    };
    assert_eq!(code(&create("eve", "admin")), "escalation");
    assert_eq!(create("bob", "analyst").status, 201);
}

#[test]
fn no_rule_of_an_organization_lets_those_above_it_read_its_content() {
    let world = World::one_node();
    let parent = world.organization("parent-co", "enterprise");
    let child = world.child_of(&parent, "child-co", "enterprise");
    grant(&child, "allow", "everyone", &["*:*"]);
    for caller in [&parent.admin, &world.platform()] {
        assert_eq!(caller.get(&child.path("")).status, 200);
        for path in
            ["/intel/objects", "/audit-events", "/grants", "/roles", "/groups", "/policies", "/access/review"]
        {
            assert_eq!(caller.get(&child.path(path)).status, 403, "{path}");
        }
    }
    assert_eq!(child.admin.get(&parent.path("")).status, 404);
}

#[test]
fn a_team_lead_changes_the_limited_settings_and_no_others() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let lead = org.member("lea", "team_lead");
    let patch = |caller: &Caller, body: Value| caller.json("PATCH", &org.path(""), &body);
    assert_eq!(patch(&lead, json!({ "settings": { "timezone": "Europe/Paris" } })).status, 200);
    for refused in [
        json!({ "settings": { "timezone": "Europe/Paris", "allow_guest_access": true } }),
        json!({ "settings": { "timezone": "Europe/Paris" }, "name": "Mine" }),
        json!({ "name": "Mine" }),
    ] {
        assert_eq!(code(&patch(&lead, refused.clone())), "permission_denied", "{refused}");
    }
    let senior = org.member("sen", "senior_analyst");
    assert_eq!(code(&patch(&senior, json!({ "settings": { "timezone": "UTC" } }))), "permission_denied");
    assert_eq!(patch(&org.admin, json!({ "settings": { "allow_guest_access": true } })).status, 200);
}

#[test]
fn a_rule_sees_how_long_ago_and_by_what_its_caller_proved_who_it_is() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let lead = org.member("lea", "team_lead");
    let deny_unless = |condition: Value| {
        let body = json!({
            "effect": "deny", "subject": "everyone", "permissions": ["read:user"],
            "condition": { "not": condition },
        });
        let created = org.admin.post(&org.path("/grants"), &body);
        assert_eq!(created.status, 201, "{}", created.body);
    };
    deny_unless(json!({ "auth_age_max_seconds": 3_600 }));
    assert_eq!(lead.get(&org.path("/users")).status, 200, "proven a moment ago");
    deny_unless(json!({ "mfa": true }));
    assert_eq!(lead.get(&org.path("/users")).status, 403, "by a password alone");
}
