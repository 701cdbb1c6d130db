//! What a client may send, and what becomes of it.

use serde_json::{Value, json, value::RawValue};

use super::*;

const UUID: &str = "3f1a7c2e-5b7d-4c1e-9a51-0c6d1f2e7a10";

fn bundle_of(objects: &Value) -> String {
    json!({ "type": "bundle", "id": format!("bundle--{UUID}"), "objects": objects }).to_string()
}

fn indicator(number: u128) -> Value {
    let id = uuid::Uuid::from_u128(number);
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--{id}"),
        "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "name": "one",
    })
}

fn pointers(body: &str) -> Vec<String> {
    match parse(body.as_bytes()) {
        Err(BundleError::Invalid(errors)) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("{body:.200}: {other:?}"),
    }
}

fn changed(field: &str, value: Value) -> Vec<String> {
    let mut object = indicator(1);
    object[field] = value;
    pointers(&bundle_of(&json!([object])))
}

#[test]
fn a_body_that_is_not_json_says_where() {
    let error = parse(b"{\"type\":\n  bundle}").unwrap_err();
    let BundleError::Malformed(why) = error else { panic!("{error:?}") };
    assert!(why.contains("line 2 column 3"), "{why}");
    for cut in ["", "{\"type\":\"bundle\",\"objects\":[{\"a\":\"b"] {
        let BundleError::Malformed(why) = parse(cut.as_bytes()).unwrap_err() else { panic!("{cut}") };
        assert!(why.contains("cut off"), "{why}");
    }
    assert!(matches!(parse(b"{\"a\":\"\xff\"}"), Err(BundleError::Malformed(_))));
}

#[test]
fn what_is_not_a_bundle_is_called_so() {
    for (body, pointer) in [
        ("[1]".to_owned(), ""),
        ("\"bundle\"".to_owned(), ""),
        (json!({ "type": "indicator" }).to_string(), "/type"),
        (json!({ "type": "bundle", "id": format!("bundle--{UUID}") }).to_string(), "/objects"),
        (json!({ "type": "bundle", "id": format!("bundle--{UUID}"), "objects": {} }).to_string(), "/objects"),
        (json!({ "type": "bundle", "id": "bundle--7", "objects": [] }).to_string(), "/id"),
        (
            format!("{{\"type\":\"bundle\",\"type\":\"bundle\",\"id\":\"bundle--{UUID}\",\"objects\":[]}}"),
            "/type",
        ),
    ] {
        assert!(pointers(&body).iter().any(|known| known == pointer), "{body}");
    }
}

#[test]
fn each_bad_property_is_named() {
    assert_eq!(changed("type", json!(7)), ["/objects/0/type"]);
    assert_eq!(changed("id", json!("malware--1")), ["/objects/0/id"]);
    assert_eq!(changed("id", json!(format!("malware--{UUID}"))), ["/objects/0/id"]);
    assert_eq!(changed("modified", json!("yesterday")), ["/objects/0/modified"]);
    assert_eq!(changed("created", Value::Null), ["/objects/0/created"]);
    assert_eq!(changed("name", json!(["a"])), ["/objects/0/name"]);
    assert_eq!(changed("spec_version", json!("3.0")), ["/objects/0/spec_version"]);
    let mut without = indicator(1);
    without.as_object_mut().unwrap().remove("modified");
    assert_eq!(pointers(&bundle_of(&json!([without]))), ["/objects/0/modified"]);
    assert_eq!(pointers(&bundle_of(&json!([indicator(1), 7, "x"]))), ["/objects/1", "/objects/2"]);
}

#[test]
fn a_doubled_property_that_identifies_is_refused_and_any_other_is_kept() {
    let text = indicator(1).to_string();
    let doubled = text.replacen('{', "{\"modified\":\"2020-01-01T00:00:00Z\",", 1);
    let body = bundle_of(&json!([])).replace("[]", &format!("[{doubled}]"));
    assert_eq!(pointers(&body), ["/objects/0/modified"]);
    let kept = text.replacen('{', "{\"x_a\":1,\"x_a\":2,", 1);
    let body = bundle_of(&json!([])).replace("[]", &format!("[{kept}]"));
    assert_eq!(parse(body.as_bytes()).unwrap().objects[0].body.get(), kept);
}

#[test]
fn at_most_twenty_errors_are_listed() {
    assert_eq!(pointers(&bundle_of(&Value::from(vec![1; 5_000]))).len(), 20);
}

#[test]
fn depth_and_size_are_bounded_without_recursion() {
    let nested = |depth: usize| {
        let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        bundle_of(&json!([])).replace(
            "[]",
            &format!("[{}]", indicator(1).to_string().replacen('{', &format!("{{\"x_d\":{deep},"), 1)),
        )
    };
    assert!(parse(nested(63).as_bytes()).is_ok());
    assert_eq!(pointers(&nested(64)), ["/objects/0"]);
    assert_eq!(pointers(&nested(1_000_000)), ["/objects/0"]);
    let endless = "[".repeat(4 << 20);
    assert!(matches!(parse(endless.as_bytes()), Err(BundleError::Malformed(_))));
    assert_eq!(changed("x_big", json!("x".repeat(1 << 20))), ["/objects/0"]);
}

#[test]
fn the_same_version_twice_counts_once_and_with_other_content_is_refused() {
    let same = parse(bundle_of(&json!([indicator(1), indicator(2), indicator(1)])).as_bytes()).unwrap();
    assert_eq!(same.objects.len(), 2);
    let mut other = indicator(1);
    other["name"] = json!("two");
    let body = bundle_of(&json!([indicator(1), indicator(2), other]));
    let Err(BundleError::Invalid(errors)) = parse(body.as_bytes()) else { panic!() };
    assert_eq!(errors[0].pointer, "/objects/2");
    assert!(errors[0].detail.contains("/objects/0"));
}

#[test]
fn the_external_id_is_the_catalogues_before_any_other() {
    let mut object = indicator(1);
    object["external_references"] = json!([
        { "source_name": "vendor", "external_id": "V-1" }, { "source_name": "mitre-attack", "external_id": "T1059" },
    ]);
    let found = parse(bundle_of(&json!([object])).as_bytes()).unwrap();
    assert_eq!(found.objects[0].external_id.as_deref(), Some("T1059"));
    object["external_references"] =
        json!([{ "source_name": "a" }, { "source_name": "vendor", "external_id": "V-1" }]);
    let found = parse(bundle_of(&json!([object])).as_bytes()).unwrap();
    assert_eq!(found.objects[0].external_id.as_deref(), Some("V-1"));
}

#[test]
fn our_example_is_a_bundle_with_everything_that_is_hard_to_keep() {
    let text = include_str!("../../../../examples/bundle.json");
    let bundle = parse(text.as_bytes()).unwrap();
    assert_kept(text.as_bytes(), &bundle);
    let all: String = bundle.objects.iter().map(|object| object.body.get()).collect();
    for kept in ["1.0", "18446744073709551617", "\\u00e9", "é", "x_", "1e-7"] {
        assert!(all.contains(kept), "{kept}");
    }
}

/// Seeded, so that a failure repeats. `cargo fuzz` may call [`parse`] the same way.
#[test]
fn no_mutation_of_a_bundle_makes_the_parser_panic() {
    let seed = include_bytes!("../../../../examples/bundle.json");
    let mut state = 0x2026_1123_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let bites: [&[u8]; 10] =
        [b"\"", b"\\", b"{", b"}", b"[", b"]", b"\\ud800", b"\xff", b"1e999999", b"\"type\":\"x\","];
    for _ in 0..3_000 {
        let mut body = seed.to_vec();
        for _ in 0..=draw(4) {
            let (from, to) = (draw(body.len()), draw(body.len()));
            match draw(4) {
                0 => body.truncate(from),
                1 => drop(body.splice(from..from, bites[draw(bites.len())].iter().copied())),
                2 if from < to => drop(body.drain(from..to.min(from + 40))),
                _ => body.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << (to % 8)),
            }
        }
        let _ = parse(&body);
    }
}

#[test]
fn attack_is_kept_object_for_object() {
    let Some(folder) = shared_data() else { return };
    let ics = std::fs::read(folder.join("stix/attack-ics.json")).unwrap();
    let packed = std::fs::read(folder.join("stix/attack-enterprise.json.xz")).unwrap();
    let mut enterprise = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut enterprise).unwrap();
    for (body, count) in [(ics, 1_826), (enterprise, 24_771)] {
        let bundle = parse(&body).unwrap();
        assert_eq!(bundle.objects.len(), count);
        assert_kept(&body, &bundle);
        let mut from = 0;
        while from < count {
            from += cut(&bundle.objects, from).len();
        }
        assert_eq!(from, count);
    }
}

#[test]
fn published_examples_are_accepted() {
    let Some(folder) = shared_data() else { return };
    for file in std::fs::read_dir(folder.join("stix/examples")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "json")
            && !path.ends_with("interop-objectmarking-test.json")
        {
            parse(&std::fs::read(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        }
    }
}

/// Third-party data lies beside the tree, not in it.
fn shared_data() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("TF_TEST_DATA").map(std::path::PathBuf::from);
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = named.unwrap_or(beside);
    if folder.join("stix/attack-ics.json").exists() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} holds no STIX data", folder.display());
    eprintln!("LEFT OUT: tests on ATT&CK; {} holds no STIX data (set TF_TEST_DATA)", folder.display());
    None
}

/// Every object is there, in order, token for token and value for value.
fn assert_kept(body: &[u8], bundle: &Bundle) {
    #[derive(serde::Deserialize)]
    struct Split<'a> {
        #[serde(borrow)]
        objects: Vec<&'a RawValue>,
    }
    let split: Split<'_> = serde_json::from_slice(body).unwrap();
    assert_eq!(split.objects.len(), bundle.objects.len());
    for (raw, object) in split.objects.iter().zip(&bundle.objects) {
        assert_eq!(tokens(raw.get()), tokens(object.body.get()));
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(raw.get()), read(object.body.get()));
    }
}

/// Strings, punctuation and atoms; found another way than the one under test.
fn tokens(json: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), json.trim_start());
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => {
                let mut from = 1;
                loop {
                    let quote = from + rest[from..].find('"').unwrap();
                    let slashes = rest[..quote].bytes().rev().take_while(|byte| *byte == b'\\').count();
                    from = quote + 1;
                    if slashes % 2 == 0 {
                        break from;
                    }
                }
            }
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    found
}
