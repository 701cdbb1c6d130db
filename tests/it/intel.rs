//! Real bundles in, queried, and out again as they came.

use std::collections::BTreeMap;

use serde_json::{Value, json, value::RawValue};

use crate::harness::{Answer, Caller, World, code, third_party};

const STIX: &[(&str, &str)] = &[("content-type", "application/stix+json")];

fn import(caller: &Caller, path: &str, bundle: &[u8]) -> Answer {
    caller.send("POST", &format!("{path}/intel/bundles"), Some(bundle), STIX).unwrap()
}

/// Every object of a bundle by id and version, as a JSON value.
fn objects(bundle: &str) -> BTreeMap<(String, String), Value> {
    #[derive(serde::Deserialize)]
    struct Bundle<'a> {
        #[serde(borrow)]
        objects: Vec<&'a RawValue>,
    }
    let bundle: Bundle<'_> = serde_json::from_str(bundle).unwrap();
    let keyed = bundle.objects.into_iter().map(|raw| {
        let object: Value = serde_json::from_str(raw.get()).unwrap();
        let of = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        ((of("id"), of("modified")), object.clone())
    });
    keyed.collect()
}

#[test]
fn our_own_bundle_goes_in_is_found_and_comes_out_identical() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let bundle =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bundle.json")).unwrap();
    let done = import(&org.admin, &org.path(""), bundle.as_bytes());
    assert_eq!((done.status, done.json["state"].as_str()), (201, Some("done")), "{}", done.body);
    let out = org.admin.get(&org.path("/intel/export"));
    assert_eq!(out.status, 200);
    assert_eq!(objects(&out.body), objects(&bundle));

    let again = import(&org.admin, &org.path(""), bundle.as_bytes());
    assert_eq!(again.json["id"], done.json["id"]);
    assert_eq!(org.admin.get(&org.path("/intel/imports")).json["data"].as_array().unwrap().len(), 1);
}

#[test]
fn attack_for_industrial_control_systems_round_trips_and_counts_to_its_quotas() {
    let Some(bundle) = third_party("stix/attack-ics.json") else { return };
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let done = import(&org.admin, &org.path(""), &bundle);
    assert_eq!(done.json["added"], 1826, "{}", done.body);

    let bundle = String::from_utf8(bundle).unwrap();
    let expected = objects(&bundle);
    let out = org.admin.get(&org.path("/intel/export"));
    assert!(objects(&out.body) == expected, "the export differs from the bundle");

    let of_type = |kind: &str| expected.values().filter(|object| object["type"] == kind).count();
    let usage = org.admin.get(&org.path("/stats")).json["usage"].clone();
    assert_eq!(usage["campaigns"], of_type("campaign"));
    assert_eq!(usage["threat_actors"], of_type("threat-actor") + of_type("intrusion-set"));

    let find =
        |query: &str| org.admin.get(&org.path(&format!("/intel/objects?{query}"))).json["data"].clone();
    assert_eq!(find("external_id=T0800")[0]["name"], "Activate Firmware Update Mode");
    assert_eq!(find("type=campaign&limit=200").as_array().unwrap().len(), of_type("campaign"));
    let named = find("name_prefix=Activate");
    assert!(
        named
            .as_array()
            .unwrap()
            .iter()
            .all(|object| object["name"].as_str().unwrap().starts_with("Activate"))
    );
    let one = named[0]["id"].as_str().unwrap();
    assert_eq!(find(&format!("id={one}"))[0], named[0]);
    let since = "2025-01-01T00:00:00Z";
    let late =
        expected.values().filter(|object| object["modified"].as_str().is_some_and(|at| at > since)).count();
    assert_eq!(count_all(&org.admin, &org.path(&format!("/intel/objects?modified_after={since}"))), late);
}

fn count_all(caller: &Caller, path: &str) -> usize {
    let (mut count, mut cursor) = (0, None::<String>);
    loop {
        let next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = caller.get(&format!("{path}&limit=200{next}"));
        assert_eq!(page.status, 200, "{}", page.body);
        count += page.json["data"].as_array().unwrap().len();
        cursor = page.json["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return count;
        }
    }
}

fn campaign(number: usize) -> Value {
    json!({ "type": "campaign", "spec_version": "2.1", "id": format!("campaign--00000000-0000-4000-8000-{number:012}"),
            "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z", "name": format!("c{number}") })
}

fn bundle_of(objects: &[Value]) -> Vec<u8> {
    let bundle =
        json!({ "type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000000", "objects": objects });
    bundle.to_string().into_bytes()
}

#[test]
fn a_bundle_that_would_pass_a_quota_leaves_nothing() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    let too_many: Vec<Value> = (0..101).map(campaign).collect();
    let refused = import(&org.admin, &org.path(""), &bundle_of(&too_many));
    assert_eq!((refused.status, code(&refused)), (403, "quota_exceeded"));
    assert_eq!(refused.json["resource"], "maxCampaigns");
    assert_eq!(org.admin.get(&org.path("/intel/objects")).json["data"], json!([]));
    assert_eq!(import(&org.admin, &org.path(""), &bundle_of(&too_many[..100])).status, 201);
    assert_eq!(org.admin.get(&org.path("/stats")).json["usage"]["campaigns"], 100);
}

#[test]
fn bad_bundles_are_named_and_leave_nothing() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let mut other = campaign(1);
    other["name"] = json!("another name");
    let mut unnamed = campaign(2);
    unnamed["id"] = json!("campaign-2");
    let cases: [(&str, Vec<u8>, u16); 7] = [
        ("truncated", b"{\"type\":\"bundle\",\"objects\":[{\"type\":".to_vec(), 400),
        ("not a bundle", b"{\"hello\":\"world\"}".to_vec(), 422),
        ("a list", b"[]".to_vec(), 422),
        ("an id of another form", bundle_of(&[unnamed]), 422),
        ("one id, two contents", bundle_of(&[campaign(1), other.clone()]), 422),
        ("not objects", bundle_of(&[json!(7)]), 422),
        (
            "deep",
            format!("{{\"type\":\"bundle\",\"id\":{}1{}}}", "[".repeat(90_000), "]".repeat(90_000))
                .into_bytes(),
            400,
        ),
    ];
    for (what, bundle, status) in cases {
        let answer = import(&org.admin, &org.path(""), &bundle);
        let right = answer.status == status || (what == "deep" && answer.status == 422);
        assert!(right && answer.json["code"].is_string(), "{what}: {} {}", answer.status, answer.body);
    }
    assert_eq!(org.admin.get(&org.path("/intel/objects")).json["data"], json!([]));

    assert_eq!(import(&org.admin, &org.path(""), &bundle_of(&[campaign(1)])).status, 201);
    let conflict = import(&org.admin, &org.path(""), &bundle_of(&[campaign(3), other]));
    assert_eq!((conflict.status, code(&conflict)), (409, "object_conflict"));
    assert_eq!(org.admin.get(&org.path("/intel/objects")).json["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_body_of_a_hundred_megabytes_is_refused_and_the_node_goes_on() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let body = vec![b' '; 100 << 20];
    if let Some(answer) = org.admin.send("POST", &org.path("/intel/bundles"), Some(&body), STIX) {
        assert_eq!((answer.status, code(&answer)), (413, "too_large"));
    }
    assert_eq!(org.admin.get(&org.path("")).status, 200);
}

#[test]
fn export_is_a_feature_of_the_plan_and_a_right_of_the_role() {
    let world = World::one_node();
    let free = world.organization("free-co", "free");
    let paid = world.organization("paid-co", "starter");
    assert_eq!(code(&free.admin.get(&free.path("/intel/export"))), "feature_not_in_plan");
    assert_eq!(paid.member("ana", "analyst").get(&paid.path("/intel/export")).status, 403);
    assert_eq!(paid.member("sue", "senior_analyst").get(&paid.path("/intel/export")).status, 200);
}
