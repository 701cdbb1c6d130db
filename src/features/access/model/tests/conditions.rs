//! Conditions: what is read, what is refused, what holds.

use serde_json::{Value, json};

use super::{AT, now, user};
use crate::{
    features::access::model::{Circumstances, Condition, DEPTH_MAX, Holder, PARTS_MAX, Truth, VALUES_MAX},
    kernel::{Attributes, Field, GroupId, Level, Millis, UserId},
};

fn read(value: &Value) -> Condition {
    Condition::parse(value, "/condition").unwrap()
}

fn refused(value: &Value) -> String {
    Condition::parse(value, "/condition").unwrap_err().pointer
}

fn holds(condition: &Value, thing: &Attributes, how: &Circumstances) -> Truth {
    let who = Holder { user: Some(user()), groups: vec![GroupId(super::id(7))] };
    read(condition).holds(&who, thing, how)
}

#[test]
fn every_condition_is_written_as_it_is_read() {
    let group = super::id(7);
    for value in [
        json!({ "owner": true }),
        json!({ "assignee": true }),
        json!({ "collaborator": ["viewer", "owner"] }),
        json!({ "field": "tlp", "in": ["green", "amber"] }),
        json!({ "read_only": true }),
        json!({ "limited": true }),
        json!({ "ip_in": ["10.0.0.0/8", "2001:db8::/32"] }),
        json!({ "time": { "from": "07:00", "to": "20:00", "weekdays": ["mon", "fri"], "offset_minutes": -60 } }),
        json!({ "mfa": true }),
        json!({ "auth_age_max_seconds": 300 }),
        json!({ "group": group }),
        json!({ "all": [{ "mfa": true }, { "any": [{ "owner": true }, { "not": { "limited": true } }] }] }),
    ] {
        assert_eq!(read(&value).to_value(), value);
        let text = serde_json::to_string(&read(&value)).unwrap();
        assert_eq!(serde_json::from_str::<Condition>(&text).unwrap(), read(&value));
    }
}

#[test]
fn a_bad_condition_is_refused_where_it_is_bad() {
    for (value, pointer) in [
        (json!("owner"), "/condition"),
        (json!({}), "/condition"),
        (json!({ "owner": true, "mfa": true }), "/condition"),
        (json!({ "owner": false }), "/condition/owner"),
        (json!({ "nobody": true }), "/condition/nobody"),
        (json!({ "field": "shape", "in": ["a"] }), "/condition/field"),
        (json!({ "field": "tlp" }), "/condition/in"),
        (json!({ "field": "tlp", "in": [] }), "/condition/in"),
        (json!({ "field": "tlp", "in": ["red", 7] }), "/condition/in/1"),
        (json!({ "field": "tlp", "in": ["red"], "mfa": true }), "/condition"),
        (json!({ "ip_in": ["10.0.0.0/33"] }), "/condition/ip_in/0"),
        (json!({ "ip_in": ["::ffff:10.0.0.0/96"] }), "/condition/ip_in/0"),
        (json!({ "time": { "from": "7:00", "to": "20:00" } }), "/condition/time/from"),
        (json!({ "time": { "from": "+7:00", "to": "20:00" } }), "/condition/time/from"),
        (json!({ "time": { "from": "24:00", "to": "20:00" } }), "/condition/time/from"),
        (json!({ "time": { "from": "07:00", "to": "07:00" } }), "/condition/time/to"),
        (
            json!({ "time": { "from": "07:00", "to": "20:00", "weekdays": ["Monday"] } }),
            "/condition/time/weekdays",
        ),
        (json!({ "auth_age_max_seconds": 0 }), "/condition/auth_age_max_seconds"),
        (json!({ "collaborator": ["boss"] }), "/condition/collaborator/0"),
        (json!({ "group": "admins" }), "/condition/group"),
        (json!({ "all": [] }), "/condition/all"),
        (json!({ "any": [{ "mfa": true }, { "not": { "x~/y": 1 } }] }), "/condition/any/1/not/x~0~1y"),
    ] {
        assert_eq!(refused(&value), pointer, "{value}");
    }
}

#[test]
fn a_condition_neither_nests_deeply_nor_grows_large() {
    let nested = |depth| (1..depth).fold(json!({ "mfa": true }), |inner, _| json!({ "not": inner }));
    assert!(Condition::parse(&nested(DEPTH_MAX), "").is_ok());
    assert!(Condition::parse(&nested(DEPTH_MAX + 1), "").is_err());
    let wide = |parts| json!({ "all": vec![json!({ "mfa": true }); parts] });
    assert!(Condition::parse(&wide(PARTS_MAX - 1), "").is_ok());
    assert!(Condition::parse(&wide(PARTS_MAX), "").is_err());
    let many = json!({ "field": "tlp", "in": vec!["red"; VALUES_MAX + 1] });
    assert!(Condition::parse(&many, "").is_err());
}

#[test]
fn what_a_whole_thing_lacks_is_false_and_what_is_not_looked_up_is_unknown() {
    let (whole, unknown) = (Attributes::whole(), Attributes::UNKNOWN);
    for condition in [
        json!({ "owner": true }),
        json!({ "assignee": true }),
        json!({ "collaborator": true }),
        json!({ "field": "tlp", "in": ["red"] }),
        json!({ "read_only": true }),
        json!({ "limited": true }),
    ] {
        assert_eq!(holds(&condition, &whole, &now()), Truth::False, "{condition}");
        assert_eq!(holds(&condition, &unknown, &now()), Truth::Unknown, "{condition}");
    }
    for condition in
        [json!({ "ip_in": ["10.0.0.0/8"] }), json!({ "mfa": true }), json!({ "auth_age_max_seconds": 9 })]
    {
        assert_eq!(holds(&condition, &whole, &now()), Truth::Unknown, "{condition}");
    }
}

#[test]
fn the_thing_decides_by_its_owner_its_collaborators_and_its_fields() {
    let other = UserId(super::id(2));
    let thing = Attributes {
        assignee: Some(other),
        collaborators: vec![(user(), Level::Viewer)],
        ..Attributes::whole().owned_by(user()).field(Field::Tlp, "amber")
    };
    let is = |condition: Value| holds(&condition, &thing, &now());
    assert_eq!(is(json!({ "owner": true })), Truth::True);
    assert_eq!(is(json!({ "assignee": true })), Truth::False);
    assert_eq!(is(json!({ "collaborator": true })), Truth::True);
    assert_eq!(is(json!({ "collaborator": ["owner"] })), Truth::False);
    assert_eq!(is(json!({ "field": "tlp", "in": ["green", "amber"] })), Truth::True);
    assert_eq!(is(json!({ "not": { "field": "tlp", "in": ["green"] } })), Truth::True);
}

#[test]
fn one_part_that_decides_outweighs_the_unknown_ones() {
    let is = |condition: Value| holds(&condition, &Attributes::UNKNOWN, &now());
    let (yes, no, maybe) =
        (json!({ "group": super::id(7) }), json!({ "group": super::id(8) }), json!({ "owner": true }));
    assert_eq!(is(json!({ "all": [maybe, no] })), Truth::False);
    assert_eq!(is(json!({ "all": [maybe, yes] })), Truth::Unknown);
    assert_eq!(is(json!({ "any": [maybe, yes] })), Truth::True);
    assert_eq!(is(json!({ "any": [maybe, no] })), Truth::Unknown);
    assert_eq!(is(json!({ "not": maybe })), Truth::Unknown);
}

#[test]
fn a_window_begins_with_its_first_minute_and_ends_before_its_last() {
    let at = |condition: &Value, ms: i64| {
        let how = Circumstances { at: AT.plus(ms), ..now() };
        holds(condition, &Attributes::UNKNOWN, &how) == Truth::True
    };
    let half_past_ten = json!({ "time": { "from": "10:30", "to": "11:00" } });
    assert!(at(&half_past_ten, 0) && !at(&half_past_ten, -1));
    assert!(at(&half_past_ten, 1_799_999) && !at(&half_past_ten, 1_800_000));
    let monday = json!({ "time": { "from": "00:00", "to": "24:00", "weekdays": ["mon"] } });
    assert!(at(&monday, 0) && !at(&monday, 86_400_000) && at(&monday, 7 * 86_400_000));
    let night = json!({ "time": { "from": "22:00", "to": "06:00" } });
    assert!(!at(&night, 0) && at(&night, 12 * 3_600_000) && at(&night, 17 * 3_600_000));
    let east =
        json!({ "time": { "from": "00:00", "to": "02:00", "weekdays": ["tue"], "offset_minutes": 840 } });
    assert!(at(&east, 0) && !at(&east, 90 * 60_000));
}

#[test]
fn an_address_is_in_a_network_also_when_it_came_over_ipv6() {
    let is = |network: &str, ip: &str| {
        let how = Circumstances { ip: Some(ip.parse().unwrap()), ..now() };
        holds(&json!({ "ip_in": [network] }), &Attributes::UNKNOWN, &how)
    };
    assert_eq!(is("10.0.0.0/8", "10.255.0.1"), Truth::True);
    assert_eq!(is("10.0.0.0/8", "11.0.0.1"), Truth::False);
    assert_eq!(is("10.0.0.0/8", "::ffff:10.1.2.3"), Truth::True);
    assert_eq!(is("0.0.0.0/0", "192.0.2.1"), Truth::True);
    assert_eq!(is("0.0.0.0/0", "2001:db8::1"), Truth::False);
    assert_eq!(is("2001:db8::/32", "2001:db8:1::1"), Truth::True);
    assert_eq!(is("::/0", "2001:db8:1::1"), Truth::True);
}

#[test]
fn a_proof_is_fresh_to_its_last_millisecond() {
    let is = |age_ms: i64| {
        let how = Circumstances { authenticated: Some(Millis(AT.0 - age_ms)), mfa: Some(true), ..now() };
        holds(
            &json!({ "all": [{ "mfa": true }, { "auth_age_max_seconds": 300 }] }),
            &Attributes::UNKNOWN,
            &how,
        )
    };
    assert_eq!((is(300_000), is(300_001)), (Truth::True, Truth::False));
}

#[test]
fn a_narrower_condition_implies_a_wider_one_and_never_the_other_way() {
    for (narrow, wide) in [
        (json!({ "all": [{ "owner": true }, { "mfa": true }] }), json!({ "owner": true })),
        (json!({ "owner": true }), json!({ "any": [{ "owner": true }, { "assignee": true }] })),
        (json!({ "field": "format", "in": ["png"] }), json!({ "field": "format", "in": ["json", "png"] })),
        (json!({ "auth_age_max_seconds": 60 }), json!({ "auth_age_max_seconds": 300 })),
        (json!({ "collaborator": ["owner"] }), json!({ "collaborator": true })),
        (
            json!({ "any": [{ "field": "tlp", "in": ["red"] }, { "field": "tlp", "in": ["amber"] }] }),
            json!({ "field": "tlp", "in": ["red", "amber"] }),
        ),
    ] {
        assert!(read(&narrow).implies(&read(&wide)), "{narrow}");
        assert!(!read(&wide).implies(&read(&narrow)), "{wide}");
    }
    assert!(!read(&json!({ "owner": true })).implies(&read(&json!({ "mfa": true }))));
}
