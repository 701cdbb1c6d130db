//! Creating and changing organizations.

use serde_json::json;

use crate::harness::{World, code, pointers};

#[test]
fn a_tree_of_organizations_is_created_and_seen_by_those_who_may() {
    let world = World::one_node();
    let parent = world.organization("parent-co", "enterprise");
    let child = world.child_of(&parent, "child-co", "starter");
    let other = world.organization("other-co", "professional");

    let seen = parent.admin.get(&child.path(""));
    assert_eq!((seen.status, seen.json["slug"].as_str()), (200, Some("child-co")));
    assert_eq!(seen.json["parent_organization_id"], json!(parent.id));
    let own = parent.admin.get(&parent.path(""));
    assert_eq!(own.json["child_organizations"], json!([child.id]));
    assert_eq!(child.admin.get(&parent.path("")).status, 404);
    assert_eq!(other.admin.get(&child.path("")).status, 404);
    // The overseer runs the child and reads none of its content.
    assert_eq!(parent.admin.get(&child.path("/audit-events")).status, 403);
    let listed = parent.admin.get("/api/v2/organizations");
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 2);
}

#[test]
fn an_administrator_creates_a_child_of_its_own_organization_and_of_no_other() {
    let world = World::one_node();
    let (parent, other) =
        (world.organization("parent-co", "enterprise"), world.organization("other-co", "free"));
    let body = |slug: &str, above: &str| {
        json!({ "name": slug, "slug": slug, "domain": format!("{slug}.test"), "plan": "free",
                "billingEmail": "b@x.test", "parentOrganizationId": above })
    };
    let created = parent.admin.post("/api/v1/phase7/organizations", &body("kid-one", &parent.id));
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.json["parentOrganizationId"], json!(parent.id));
    assert!(created.header("location").is_some());
    assert_eq!(
        code(&parent.admin.post("/api/v1/phase7/organizations", &body("kid-one", &parent.id))),
        "slug_taken"
    );
    assert_eq!(parent.admin.post("/api/v1/phase7/organizations", &body("kid-two", &other.id)).status, 404);
    let rootless = json!({ "name": "x", "slug": "kid-six", "domain": "k.test", "plan": "free", "billingEmail": "b@x.test" });
    assert_eq!(parent.admin.post("/api/v1/phase7/organizations", &rootless).status, 403);
}

#[test]
fn slug_and_domain_are_unique_and_the_same_key_is_answered_once() {
    let world = World::one_node();
    let platform = world.platform();
    let body = |slug: &str, domain: &str| {
        json!({ "name": "N", "slug": slug, "domain": domain, "plan": "free", "billing_email": "b@x.test" })
            .to_string()
    };
    let send = |key: &str, body: &str| {
        let headers = [("idempotency-key", key)];
        platform.send("POST", "/api/v2/organizations", Some(body.as_bytes()), &headers).unwrap()
    };
    let first = send("k1", &body("acme", "acme.test"));
    let again = send("k1", &body("acme", "acme.test"));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json["id"], again.json["id"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(code(&send("k1", &body("other", "other.test"))), "idempotency_key_reused");
    assert_eq!(code(&send("k2", &body("acme", "else.test"))), "slug_taken");
    assert_eq!(code(&send("k3", &body("else", "ACME.test"))), "domain_taken");
}

#[test]
fn a_change_honours_if_match_and_refuses_what_follows_from_the_plan() {
    let world = World::one_node();
    let org = world.organization("acme", "professional");
    let path = format!("/api/v1/phase7/organizations/{}", org.id);
    let shown = org.admin.get(&path);
    let tag = shown.header("etag").unwrap().to_owned();
    let change = json!({ "name": "Renamed", "settings": { "timezone": "Europe/Paris" } }).to_string();
    let put =
        |tag: &str| org.admin.send("PUT", &path, Some(change.as_bytes()), &[("if-match", tag)]).unwrap();
    let changed = put(&tag);
    assert_eq!((changed.status, changed.json["name"].as_str()), (200, Some("Renamed")));
    assert_eq!(changed.json["settings"]["timezone"], "Europe/Paris");
    assert_eq!(changed.json["settings"]["dateFormat"], "YYYY-MM-DD");
    assert_eq!(put(&tag).status, 412);

    let refused =
        org.admin.put(&path, &json!({ "plan": "enterprise", "quotas": {}, "retentionDays": 0, "nope": 1 }));
    assert_eq!(refused.status, 422);
    assert_eq!(pointers(&refused), ["/plan", "/quotas", "/retentionDays", "/nope"]);
    let over = org.admin.put(&path, &json!({ "retentionDays": 181 }));
    assert_eq!((over.status, code(&over)), (403, "quota_exceeded"));
}

#[test]
fn a_downgrade_below_use_needs_consent_and_then_freezes_growth() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    let platform = world.platform();
    let report = |amount: i64| {
        org.admin.post(&org.path("/usage"), &json!({ "resource": "max_feeds", "amount": amount }))
    };
    assert_eq!(report(7).status, 200);
    let refused = platform.post(&org.path("/plan"), &json!({ "plan": "free" }));
    assert_eq!((refused.status, code(&refused)), (409, "usage_exceeds_plan"));
    assert_eq!(refused.json["overages"], json!([{ "resource": "maxFeeds", "usage": 7, "quota": 2 }]));
    let forced = platform.post(&org.path("/plan"), &json!({ "plan": "free", "accept_overage": true }));
    assert_eq!((forced.status, forced.json["plan"].as_str()), (200, Some("free")));
    assert_eq!(forced.json["usage"]["active_feeds"], 7);
    let usage = |amount: i64| {
        platform.post(&org.path("/usage"), &json!({ "resource": "max_feeds", "amount": amount }))
    };
    assert_eq!(code(&usage(1)), "quota_exceeded");
    assert_eq!(usage(-6).status, 200);
    assert_eq!(usage(1).status, 200);
    assert_eq!(org.admin.post(&org.path("/plan"), &json!({ "plan": "enterprise" })).status, 403);
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let mut world = World::one_node();
    let org = world.organization("acme", "enterprise");
    for round in 1..=3 {
        let answer = org.admin.post(&org.path("/usage"), &json!({ "resource": "max_cases", "amount": 1 }));
        assert_eq!(answer.json["usage"], round);
        world.crash_and_restart();
    }
    let stats = org.admin.get(&org.path("/stats"));
    assert_eq!(stats.json["usage"]["active_cases"], 3);
}
