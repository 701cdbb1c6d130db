//! Investigations, notes, cases and activities over HTTP, as the built-in roles and an organization's rules allow.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Organization, World, code};

fn id(answer: &Answer) -> String {
    answer.json["id"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

fn user_id(caller: &Caller) -> String {
    caller.get("/api/v2/auth/me").json["user"]["id"].as_str().unwrap().to_owned()
}

fn open(caller: &Caller, org: &Organization, body: &Value) -> String {
    let created = caller.post(&org.path("/investigations"), body);
    assert_eq!(created.status, 201, "{}", created.body);
    id(&created)
}

fn grant(org: &Organization, body: &Value) {
    let created = org.admin.post(&org.path("/grants"), body);
    assert_eq!(created.status, 201, "{}", created.body);
}

fn patch(caller: &Caller, path: &str, body: &Value) -> u16 {
    caller.json("PATCH", path, body).status
}

fn delete(caller: &Caller, path: &str) -> u16 {
    caller.send("DELETE", path, None, &[]).unwrap().status
}

#[test]
fn built_in_roles_read_create_change_and_delete_as_their_table_says() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (ana, sam, lea) =
        (org.member("ana", "analyst"), org.member("sam", "senior_analyst"), org.member("lea", "team_lead"));
    let one = open(&ana, &org, &json!({ "title": "Odd logins", "priority": "high", "tags": ["vpn"] }));
    let path = org.path(&format!("/investigations/{one}"));
    let shown = sam.get(&path);
    assert_eq!(
        (shown.status, &shown.json["status"], &shown.json["title"]),
        (200, &json!("open"), &json!("Odd logins"))
    );
    assert_eq!(patch(&ana, &path, &json!({ "priority": "low" })), 403);
    assert_eq!(patch(&sam, &path, &json!({ "priority": "low", "status": "in_progress" })), 200);
    let stale = sam.send("PATCH", &path, Some(br#"{"priority":"high"}"#), &[("if-match", "\"1\"")]).unwrap();
    assert_eq!(code(&stale), "version_mismatch");
    assert_eq!(delete(&sam, &path), 403);
    assert_eq!(patch(&sam, &path, &json!({ "status": "closed" })), 200);
    assert!(lea.get(&path).json["closed_at"].is_string());
    assert_eq!(delete(&lea, &path), 204);
    assert_eq!(sam.get(&path).status, 404);
}

#[test]
fn null_takes_an_optional_field_away_and_what_is_absent_stays() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let said = json!({
        "title": "Odd logins", "description": "since Monday", "tags": ["vpn"], "source_url": "https://a.example/1",
        "metadata": { "ticket": 7 },
    });
    let path = org.path(&format!("/investigations/{}", open(&org.admin, &org, &said)));
    let gone = json!({ "description": null, "source_url": null, "title": null });
    let changed = org.admin.json("PATCH", &path, &gone);
    assert_eq!(changed.status, 200, "{}", changed.body);
    let shown = org.admin.get(&path).json;
    assert_eq!((&shown["description"], &shown["source_url"]), (&Value::Null, &Value::Null), "{shown}");
    assert_eq!((&shown["tags"], &shown["metadata"]), (&said["tags"], &said["metadata"]), "{shown}");
    assert_eq!(shown["title"], "Odd logins", "every investigation has one");
    let found = org.admin.get(&org.path("/investigations?q=monday"));
    assert_eq!(found.json["data"].as_array().map(Vec::len), Some(0), "{}", found.body);

    let activity = org.admin.post(
        &org.path("/activities"),
        &json!({ "name": "Beaconing", "confidence": 0.5, "context": { "a": 1 }, "severity": "high" }),
    );
    let path = org.path(&format!("/activities/{}", id(&activity)));
    assert_eq!(patch(&org.admin, &path, &json!({ "confidence": null, "context": null })), 200);
    let shown = org.admin.get(&path).json;
    assert_eq!((&shown["confidence"], &shown["context"]), (&Value::Null, &json!({})), "{shown}");
    assert_eq!(shown["severity"], "high");
}

#[test]
fn notes_are_changed_by_who_wrote_them_and_private_ones_are_seen_by_nobody_else() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let (ana, sam) = (org.member("ana", "analyst"), org.member("sam", "senior_analyst"));
    let one = open(&ana, &org, &json!({ "title": "Odd logins" }));
    let notes = org.path(&format!("/investigations/{one}/notes"));
    let open_note = ana.post(&notes, &json!({ "body": "it began on Monday", "kind": "hypothesis" }));
    assert_eq!(open_note.status, 201, "{}", open_note.body);
    let answer = sam.post(&notes, &json!({ "body": "on Sunday, rather", "parent": id(&open_note) }));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let secret = ana.post(&notes, &json!({ "body": "I suspect Sam", "private": true }));
    assert_eq!(secret.status, 201, "{}", secret.body);

    let seen = |caller: &Caller| caller.get(&notes).json["data"].as_array().unwrap().len();
    assert_eq!((seen(&ana), seen(&sam), seen(&org.admin)), (3, 2, 2));
    assert_eq!(sam.get(&format!("{notes}/{}", id(&secret))).status, 404);
    let note = format!("{notes}/{}", id(&open_note));
    assert_eq!(patch(&sam, &note, &json!({ "body": "no" })), 403);
    assert_eq!(patch(&ana, &note, &json!({ "body": "it began on Tuesday" })), 200);
}

#[test]
fn a_grant_on_one_investigation_opens_that_one_and_a_denial_closes_by_classification() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let mine = open(&org.admin, &org, &json!({ "title": "one", "classification": "internal" }));
    let other = open(&org.admin, &org, &json!({ "title": "two", "classification": "internal" }));
    let secret = open(&org.admin, &org, &json!({ "title": "three", "classification": "confidential" }));
    let path = |id: &str| org.path(&format!("/investigations/{id}"));
    let subject = format!("user:{}", user_id(&ana));
    grant(
        &org,
        &json!({ "effect": "allow", "subject": subject, "permissions": ["update:investigation"], "resource": mine }),
    );
    assert_eq!(patch(&ana, &path(&mine), &json!({ "priority": "low" })), 200);
    assert_eq!(patch(&ana, &path(&other), &json!({ "priority": "low" })), 403);

    grant(
        &org,
        &json!({
            "effect": "deny", "subject": subject, "permissions": ["read:investigation", "update:investigation"],
            "condition": { "field": "classification", "in": ["confidential"] },
        }),
    );
    assert_eq!(ana.get(&path(&secret)).status, 404);
    let listed = ana.get(&org.path("/investigations"));
    let titles: Vec<&str> =
        listed.json["data"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), 2, "{}", listed.body);
    assert!(!titles.contains(&"three"), "{titles:?}");
    // Nor may it be moved to where whoever moves it could not have touched it.
    assert_eq!(patch(&ana, &path(&mine), &json!({ "classification": "confidential" })), 403);
}

#[test]
fn a_list_shows_what_single_reads_allow_page_by_page() {
    let world = World::one_node();
    let org = world.organization("acme", "enterprise");
    let ana = org.member("ana", "analyst");
    let classes = ["confidential", "restricted", "internal", "public"];
    let mut ids = Vec::new();
    for number in 0..40 {
        let owner = if number % 7 == 0 { &ana } else { &org.admin };
        let body = json!({ "title": format!("number {number}"), "classification": classes[number % 4] });
        ids.push(open(owner, &org, &body));
    }
    grant(
        &org,
        &json!({
            "effect": "deny", "subject": format!("user:{}", user_id(&ana)), "permissions": ["read:investigation"],
            "condition": { "all": [
                { "field": "classification", "in": ["confidential", "restricted"] }, { "not": { "owner": true } },
            ] },
        }),
    );
    let mut single: Vec<String> = ids
        .iter()
        .filter(|one| ana.get(&org.path(&format!("/investigations/{one}"))).status == 200)
        .cloned()
        .collect();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ana.get(&org.path(&format!("/investigations?limit=7{cursor}")));
        assert_eq!(page.status, 200, "{}", page.body);
        let rows = page.json["data"].as_array().unwrap();
        listed.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.json["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    single.sort();
    listed.sort();
    assert_eq!(listed, single);
    assert!(single.len() > 20 && single.len() < 40, "{}", single.len());
}

#[test]
fn open_investigations_and_cases_fill_their_quotas_and_cases_need_their_feature() {
    let world = World::one_node();
    let org = world.organization("acme", "free");
    let case = org.admin.post(&org.path("/cases"), &json!({ "title": "one" }));
    assert_eq!((case.status, code(&case)), (402, "feature_not_in_plan"));
    let org = world.organization("larger", "starter");
    let ids: Vec<String> = (0..8).map(|_| open(&org.admin, &org, &json!({ "title": "one" }))).collect();
    let usage = || org.admin.get(&org.path("/quotas?resource=max_investigations")).json["usage"].clone();
    assert_eq!(usage(), 8);
    let path = org.path(&format!("/investigations/{}", ids[0]));
    assert_eq!(patch(&org.admin, &path, &json!({ "status": "closed" })), 200);
    assert_eq!(usage(), 7);
    assert_eq!(patch(&org.admin, &path, &json!({ "status": "open" })), 200);
    assert_eq!(delete(&org.admin, &path), 204);
    assert_eq!(usage(), 7);
}
