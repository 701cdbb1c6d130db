//! Quotas are exact, whoever races.

use serde_json::json;

use crate::harness::{World, code};

#[test]
fn with_n_left_n_takes_succeed_however_many_clients_race() {
    let world = World::one_node();
    let org = world.organization("acme", "free");
    let platform = world.platform();
    let body = json!({ "resource": "maxWorkflows", "amount": 1 });
    let path = format!("/api/v1/phase7/organizations/{}/usage", org.id);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..32).map(|_| scope.spawn(|| platform.post(&path, &body).status)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 27);
    let check =
        platform.get(&format!("/api/v1/phase7/organizations/{}/quotas?resource=maxWorkflows", org.id));
    let expected =
        json!({ "allowed": false, "reason": "Quota exceeded for maxWorkflows", "usage": 5, "quota": 5 });
    assert_eq!(check.json, expected);
}

#[test]
fn seats_count_users_that_exist_and_the_next_one_is_refused() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    for seat in 2..=10 {
        let body = json!({ "email": format!("u{seat}@acme.test"), "role": "analyst" });
        assert_eq!(org.admin.post(&org.path("/users"), &body).status, 201);
    }
    let refused =
        org.admin.post(&org.path("/users"), &json!({ "email": "u11@acme.test", "role": "analyst" }));
    assert_eq!((refused.status, code(&refused)), (403, "quota_exceeded"));
    assert_eq!(refused.json["resource"], "maxUsers");
    assert_eq!((&refused.json["usage"], &refused.json["quota"]), (&json!(10), &json!(10)));
    let taken = org.admin.post(&org.path("/users"), &json!({ "email": "u2@acme.test", "role": "analyst" }));
    assert_eq!(code(&taken), "email_taken");
}

#[test]
fn all_sixteen_quotas_are_reported_and_a_crossing_warns_once() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    let stats = org.admin.get(&format!("/api/v1/phase7/organizations/{}/stats", org.id));
    assert_eq!(stats.json["quotas"].as_object().unwrap().len(), 16);
    assert_eq!(stats.json["quotas"]["maxIOCsPerMonth"], 10_000);
    assert_eq!(stats.json["utilization"].as_object().unwrap().len(), 16);
    for amount in [7, 1, 1, -5, 5] {
        let body = json!({ "resource": "max_dashboards", "amount": amount });
        assert_eq!(org.admin.post(&org.path("/usage"), &body).status, 200);
    }
    let warnings = org.admin.get(&org.path("/audit-events?action=quotas.warning"));
    let percents: Vec<_> = warnings.json["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["event"]["changes"]["percent"].clone())
        .collect();
    assert_eq!(percents, [json!(90), json!(90), json!(80)]);
}

#[test]
fn more_calls_than_the_plan_allows_are_refused_until_the_minute_is_over() {
    let world = World::one_node();
    let org = world.organization("acme", "free");
    let answers: Vec<_> = (0..40).map(|_| org.admin.get(&org.path(""))).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    // Two minutes at most were touched, at ten calls each.
    let served = answers.len() - refused.len();
    assert!((10..=20).contains(&served), "{served} calls were served");
    let one = refused.first().unwrap();
    assert_eq!((code(one), one.json["resource"].as_str()), ("rate_limited", Some("maxAPICallsPerMinute")));
    assert!(one.header("retry-after").unwrap().parse::<u64>().unwrap() <= 61);
}

#[test]
fn what_the_server_measures_cannot_be_reported() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    for resource in
        ["maxStorageGB", "maxRetentionDays", "maxAPICallsPerMinute", "maxAPICallsPerDay", "maxNothing"]
    {
        let answer = org.admin.post(&org.path("/usage"), &json!({ "resource": resource, "amount": 1 }));
        assert_eq!(answer.status, 422, "{resource}: {}", answer.body);
    }
    let below = org.admin.post(&org.path("/usage"), &json!({ "resource": "maxFeeds", "amount": -1 }));
    assert_eq!((below.status, code(&below)), (409, "usage_below_zero"));
}
