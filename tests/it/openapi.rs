//! The API description says what the server does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Caller, World, pointers};

/// Fills every parameter of a path with `org`, or with an id that exists nowhere.
fn filled(path: &str, org: &str) -> String {
    path.replace("{org}", org)
        .replace("{id}", "01890a5d-ac96-774b-bcce-b302099a8057")
        .replace("{note}", "01890a5d-ac96-774b-bcce-b302099a8057")
        .replace("{domain}", "nowhere.test")
        .replace("{target}", "nowhere")
        .replace("{restore}", "01890a5d-ac96-774b-bcce-b302099a8057")
        .replace("{subject}", "everyone")
        .replace("{user}", "01890a5d-ac96-774b-bcce-b302099a8057")
}

fn send(caller: &Caller, method: &str, path: &str, body: &Value) -> BTreeSet<String> {
    let answer = caller.send(method, path, Some(body.to_string().as_bytes()), &[]).unwrap();
    assert_eq!(answer.status, 422, "{method} {path} {body}: {}", answer.body);
    let listed = answer.json["errors"].as_array().unwrap();
    let missing = listed.iter().filter(|error| error["detail"] == "is required");
    missing.map(|error| error["pointer"].as_str().unwrap().trim_start_matches('/').to_owned()).collect()
}

#[test]
fn bodies_are_read_as_they_are_described() {
    let world = World::one_node();
    let org = world.organization("described", "enterprise");
    let platform = world.platform();
    let mut seen = 0;
    for version in ["v1", "v2"] {
        let document = world.anonymous().get(&format!("/api/{version}/openapi.json")).json;
        assert_eq!(document["openapi"], "3.1.0");
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let Some(described) = schema["properties"].as_object() else { continue };
                seen += 1;
                let may_platform =
                    path.contains("/cluster") || path.ends_with("/plan") || path.ends_with("/erase");
                let caller = if may_platform { &platform } else { &org.admin };
                let (method, path) = (method.to_uppercase(), filled(path, &org.id));
                let required: BTreeSet<String> =
                    serde_json::from_value(schema.get("required").cloned().unwrap_or(json!([]))).unwrap();
                // A field that no request has: what is required is listed as missing, all of it.
                let missing = send(caller, &method, &path, &json!({ "no_such_field": 1 }));
                assert_eq!(missing, required, "{method} {path}");
                // Every described field is read: none is unknown. Each is given what no rule takes.
                let wrong: Value = described.keys().map(|name| (name.clone(), json!([{}]))).collect();
                let answer = caller.send(&method, &path, Some(wrong.to_string().as_bytes()), &[]).unwrap();
                let listed: BTreeSet<String> = pointers(&answer).into_iter().collect();
                for name in described.keys() {
                    let found = listed.iter().any(|pointer| pointer.split('/').nth(1) == Some(name));
                    assert!(found, "{method} {path} took a wrong {name}: {}", answer.body);
                }
                assert!(!answer.body.contains("is not a field of this request"), "{}", answer.body);
            }
        }
    }
    assert!(seen >= 10, "{seen} bodies are described");
}

#[test]
fn every_route_is_described_once_and_every_reference_leads_somewhere() {
    let world = World::one_node();
    let listed = threatflow::app::routes::listed();
    let mut described = 0;
    for version in ["v1", "v2"] {
        let document = world.anonymous().get(&format!("/api/{version}/openapi.json")).json;
        let paths = document["paths"].as_object().unwrap();
        let mut names = BTreeSet::new();
        for operation in paths.values().flat_map(|operations| operations.as_object().unwrap().values()) {
            assert!(names.insert(operation["operationId"].to_string()), "{operation} has a name twice");
            assert!(operation["summary"].as_str().unwrap().len() > 5, "{operation}");
        }
        described += names.len();
        for reference in references(&document) {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
    assert_eq!(described, listed.iter().map(|route| route.paths.len()).sum::<usize>());
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn queries_are_read_as_they_are_described() {
    let world = World::one_node();
    let org = world.organization("asked", "enterprise");
    let document = world.anonymous().get("/api/v2/openapi.json").json;
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("get").filter(|_| !path.contains("/cluster")) else { continue };
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let described: Vec<&str> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        if described.is_empty() {
            continue;
        }
        seen += 1;
        let mut query: Vec<String> = described.iter().map(|name| format!("{name}=%01")).collect();
        query.push("no_such_parameter=1".to_owned());
        let path = format!("{}?{}", filled(path, &org.id), query.join("&"));
        let answer = org.admin.get(&path);
        let unknown: Vec<Value> = answer.json["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("{path}: {}", answer.body))
            .iter()
            .filter(|error| error["detail"] == "is not a parameter of this request")
            .map(|error| error["pointer"].clone())
            .collect();
        assert_eq!(unknown, [json!("no_such_parameter")], "{path}: {}", answer.body);
    }
    assert!(seen >= 6, "{seen} queries are described");
}
