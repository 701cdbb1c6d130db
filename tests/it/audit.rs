//! Everything leaves its event, in one unbroken chain.

use serde_json::json;
use threatflow::features::audit::model::{CHAIN_START, chain_after};

use crate::harness::World;

#[test]
fn every_change_and_every_refusal_is_an_event_of_its_organization() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    org.admin.post(&org.path("/usage"), &json!({ "resource": "max_feeds", "amount": 3 }));
    org.admin.post(&org.path("/usage"), &json!({ "resource": "max_feeds", "amount": 99 }));
    let events = org.admin.get(&org.path("/audit-events?limit=200"));
    let told: Vec<(String, String)> = events.json["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|row| {
            let of =
                |pointer: &str| row.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            (of("/event/action"), of("/event/outcome"))
        })
        .collect();
    let expected = [
        ("organizations.provision", "success"),
        ("organizations.provision", "success"),
        ("login.open_session", "success"),
        ("quotas.report_usage", "success"),
        ("quotas.report_usage", "refused"),
    ];
    let told: Vec<(&str, &str)> =
        told.iter().map(|(action, outcome)| (action.as_str(), outcome.as_str())).collect();
    assert_eq!(told, expected);
    let newest = &events.json["data"][0];
    assert_eq!(newest["event"]["reason"]["code"], "quota_exceeded");
    assert_eq!(newest["personal"]["ip_address"], "127.0.0.1");
    assert!(!newest["event"].to_string().contains("127.0.0.1"));
}

#[test]
fn the_leaf_is_canonical_and_its_personal_fields_are_committed_to() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    let events = org.admin.get(&org.path("/audit-events"));
    for row in events.json["data"].as_array().unwrap() {
        let canonical = serde_json_canonicalizer::to_string(&row["event"]).unwrap();
        assert!(events.body.contains(&canonical), "the leaf is not served as it is hashed: {canonical}");
        assert_eq!(
            row["event"]["personal"].as_str().map(str::len),
            (!row["personal"].is_null()).then_some(64)
        );
    }
}

#[test]
fn the_trail_is_read_by_plan_and_role_and_written_for_all() {
    let world = World::one_node();
    let free = world.organization("free-co", "free");
    let paid = world.organization("paid-co", "starter");
    assert_eq!(free.admin.get(&free.path("/audit-events")).status, 402);
    assert_eq!(paid.member("ana", "analyst").get(&paid.path("/audit-events")).status, 403);
    assert_eq!(paid.member("lea", "team_lead").get(&paid.path("/audit-events")).status, 200);
    let v1 = paid.admin.get("/api/v1/phase7/audit-logs?resource_type=user&limit=1");
    assert_eq!(v1.json["data"][0]["organization_id"], json!(paid.id));
    assert!(v1.json["pagination"]["nextCursor"].is_string());
    let id = v1.json["data"][0]["id"].as_str().unwrap();
    assert_eq!(paid.admin.get(&format!("/api/v1/phase7/audit-logs/{id}")).json["id"], json!(id));
    assert_eq!(paid.admin.get("/api/v1/phase7/audit-logs?nope=1").status, 422);
    let installation = world.platform().get("/api/v2/organizations/system/audit-events");
    assert_eq!(installation.status, 200);
}

#[test]
fn a_changed_leaf_breaks_the_chain_from_there_on() {
    let leaves: [&[u8]; 3] = [b"one", b"two", b"three"];
    let chain = |leaves: &[&[u8]]| leaves.iter().fold(CHAIN_START, |chain, leaf| chain_after(&chain, leaf));
    let whole = chain(&leaves);
    assert_ne!(whole, chain(&[b"one", b"2", b"three"]));
    assert_ne!(whole, chain(&leaves[..2]));
    assert_ne!(whole, chain(&[b"two", b"one", b"three"]));
}
