//! Whatever is sent, the answer is a clear problem document, and nothing is half done.

use serde_json::{Value, json};

use crate::harness::{World, code, pointers};

#[test]
fn every_bad_field_is_listed_at_once() {
    let world = World::one_node();
    let platform = world.platform();
    let body = json!({ "name": 7, "slug": "A b", "domain": "nodots", "plan": "gold", "billing_email": "nobody",
                       "colour": "red", "admin": { "email": "x", "password": "short", "shoe": 1 } });
    let answer = platform.post("/api/v2/organizations", &body);
    assert_eq!(answer.status, 422);
    let mut bad = pointers(&answer);
    bad.sort();
    let expected = [
        "/admin/email",
        "/admin/password",
        "/admin/shoe",
        "/billing_email",
        "/colour",
        "/domain",
        "/name",
        "/plan",
        "/slug",
    ];
    assert_eq!(bad, expected);
    assert_eq!(platform.get("/api/v2/organizations").json["data"], json!([]));
}

/// What is sent, with which headers, and the status it must get.
type Case<'a> = (&'a str, &'a [u8], &'a [(&'a str, &'a str)], u16);

#[test]
fn malformed_requests_are_named_and_never_a_server_error() {
    let world = World::one_node();
    let platform = world.platform();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = vec![b' '; 2 << 20];
    let post = |body: &[u8], headers: &[(&str, &str)]| {
        platform.send("POST", "/api/v2/organizations", Some(body), headers)
    };
    let cases: [Case<'_>; 9] = [
        ("not JSON", b"{", &[], 400),
        ("not UTF-8", b"\"\xff\"", &[], 400),
        ("empty", b"", &[], 400),
        ("deep", deep.as_bytes(), &[], 400),
        ("not an object", b"[1]", &[], 422),
        ("another media type", b"a=b", &[("content-type", "application/x-www-form-urlencoded")], 415),
        ("two MiB", &large, &[], 413),
        ("bad If-Match", b"{}", &[("if-match", "W/\"x\"")], 400),
        ("bad consistency", b"{}", &[("x-consistency", "eventually")], 400),
    ];
    for (what, body, headers, status) in cases {
        // A server that refuses a body before its end may close the connection.
        if let Some(answer) = post(body, headers) {
            assert_eq!(answer.status, status, "{what}: {}", answer.body);
            assert_problem(&answer.json, what);
        }
    }
    for (path, status) in [
        ("/api/v2/nothing", 404),
        ("/api/v2/organizations?limit=0", 422),
        ("/api/v2/organizations?limit=1&limit=2", 422),
        ("/api/v2/organizations?cursor=zz", 422),
        ("/api/v2/organizations?%ff=1", 422),
        ("/api/v2/organizations/%00", 404),
    ] {
        let answer = platform.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_problem(&answer.json, path);
    }
    let wrong_method = platform.json("DELETE", "/api/v2/organizations", &json!({}));
    assert_eq!((wrong_method.status, code(&wrong_method)), (405, "method_not_allowed"));
}

#[test]
fn bad_credentials_get_one_answer() {
    let world = World::one_node();
    let org = world.organization("acme", "starter");
    let login = |email: &str, organization: &str| {
        let body = json!({ "email": email, "password": "not the password", "organization": organization });
        let answer = world.anonymous().post("/api/v2/auth/login", &body);
        let mut problem = answer.json.clone();
        problem["instance"] = Value::Null;
        (answer.status, problem)
    };
    let wrong = login("admin@acme.test", "acme");
    assert_eq!(wrong.0, 401);
    assert_eq!(login("nobody@acme.test", "acme"), wrong);
    assert_eq!(login("admin@acme.test", "nothing"), wrong);
    for token in ["", "x", "a.b.c", &org.admin.token()[..80]] {
        assert_eq!(world.anonymous().with_token(token).get(&org.path("")).status, 401);
    }
}

#[test]
fn every_answer_has_a_request_id_and_the_security_headers() {
    let world = World::one_node();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for path in ["/api/v2/organizations", "/api/v2/nothing"] {
        let answer = world.anonymous().send("GET", path, None, &[("x-request-id", id)]).unwrap();
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.json["instance"], id);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("server"), None);
    }
}

fn assert_problem(json: &Value, what: &str) {
    for name in ["type", "title", "status", "detail", "instance", "code"] {
        assert!(!json[name].is_null(), "{what}: a problem without {name}: {json}");
    }
}
