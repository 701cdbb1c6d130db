//! Random rules and what they are asked with.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{AT, user};
use crate::{
    features::access::Circumstances,
    kernel::{GroupId, RoleId},
};

/// A generator of its own (xorshift64*): the same cases on every machine.
pub(super) struct Dice(u64);

pub(super) const GROUPS: usize = 2;
pub(super) const ROLES_MADE: usize = 3;

const PERMISSIONS: &[&str] = &[
    "read:investigation",
    "read:case",
    "read:activity",
    "read:note",
    "*:investigation",
    "*:case",
    "read:*",
    "update:case",
];

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn roll(&mut self, sides: usize) -> usize {
        (self.next() >> 33) as usize % sides
    }

    pub(super) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    pub(super) fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

pub(super) fn group(number: usize) -> GroupId {
    GroupId(Uuid::from_u128(0x50 + number as u128))
}

pub(super) fn role(number: usize) -> RoleId {
    RoleId(Uuid::from_u128(0x70 + number as u128))
}

pub(super) fn condition(dice: &mut Dice, depth: usize) -> Value {
    let sides = if depth == 0 { 11 } else { 17 };
    match dice.roll(sides) {
        0 | 1 => json!({ "owner": true }),
        2 => json!({ "assignee": true }),
        3 => json!({ "collaborator": [dice.one(&["viewer", "collaborator", "owner"]), "owner"] }),
        4 => {
            json!({ "field": "classification", "in": [dice.one(&["confidential", "restricted"]), "public"] })
        }
        5 => json!({ "field": dice.one(&["severity", "priority"]), "in": [dice.one(&["low", "high"])] }),
        6 => json!({ "field": "status", "in": [dice.one(&["open", "closed"]), "resolved"] }),
        7 => {
            json!({ "field": dice.one(&["source", "tlp", "type"]), "in": [dice.one(&["url", "red", "finding"])] })
        }
        8 => dice.one(&[json!({ "mfa": true }), json!({ "ip_in": ["10.0.0.0/8"] })]),
        9 => json!({ "group": group(dice.roll(GROUPS)) }),
        10 => json!({ "time": { "from": "08:00", "to": dice.one(&["10:00", "18:00"]) } }),
        11 | 12 => json!({ "not": condition(dice, depth - 1) }),
        13 => json!({ "all": [condition(dice, depth - 1), condition(dice, depth - 1)] }),
        _ => json!({ "any": [condition(dice, depth - 1), condition(dice, depth - 1)] }),
    }
}

/// A condition that one part of it narrows to few rows, as denials of organizations do.
fn own_alone(dice: &mut Dice) -> Value {
    json!({ "not": { "any": [{ "owner": true }, { "assignee": true }, condition(dice, 1)] } })
}

pub(super) fn subject(dice: &mut Dice) -> String {
    match dice.roll(6) {
        0 => "everyone".to_owned(),
        1 => format!("group:{}", group(dice.roll(GROUPS))),
        2 => format!("role:{}", role(dice.roll(ROLES_MADE))),
        3 => format!("role:{}", dice.one(&["analyst", "senior_analyst", "team_lead"])),
        _ => format!("user:{}", user(1 + dice.roll(6))),
    }
}

/// The body of a grant or a denial, about one of `ids` now and then.
pub(super) fn grant(dice: &mut Dice, ids: &[String]) -> Value {
    let effect = dice.one(&["allow", "deny", "deny"]);
    let mut body = json!({
        "id": dice.id(), "effect": effect, "subject": subject(dice), "permissions": [dice.one(PERMISSIONS)],
    });
    if dice.roll(4) == 0 {
        body["resource"] = json!(dice.one(ids));
    }
    match dice.roll(6) {
        0 => {}
        1 | 2 if effect == "deny" => body["condition"] = own_alone(dice),
        _ => body["condition"] = condition(dice, 2),
    }
    if dice.roll(6) == 0 {
        body["expires"] = json!(AT.0 + 1 + dice.roll(2) as i64);
    }
    body
}

pub(super) fn custom_role(dice: &mut Dice, number: usize) -> Value {
    let inherits = match dice.roll(3) {
        0 if number > 0 => vec![role(number - 1).to_string()],
        1 => vec!["senior_analyst".to_owned()],
        _ => Vec::new(),
    };
    let rule =
        |dice: &mut Dice| json!({ "permissions": [dice.one(PERMISSIONS)], "condition": condition(dice, 2) });
    json!({ "id": role(number), "name": format!("role {number}"), "inherits": inherits, "rules": [rule(dice), rule(dice)] })
}

/// One Cedar policy, which a filter may not be able to say.
pub(super) fn policy(dice: &mut Dice) -> String {
    let effect = dice.one(&["permit", "forbid", "forbid"]);
    let kind = dice.one(&["Investigation", "Case", "Activity"]);
    let when = match dice.roll(4) {
        0 => "resource has owner && resource.owner == principal".to_owned(),
        1 => "resource has severity && resource.severity == \"high\"".to_owned(),
        2 => "resource has classification && resource.classification like \"con*\"".to_owned(),
        _ => format!("principal in Group::\"{}\"", group(dice.roll(GROUPS))),
    };
    let held = dice.one(&["when", "unless"]);
    format!("{effect} (principal, action == Action::\"read\", resource is {kind}) {held} {{ {when} }};")
}

pub(super) fn circumstances(dice: &mut Dice) -> Circumstances {
    Circumstances {
        // Some of what ends has ended.
        at: AT.plus(dice.roll(3) as i64),
        ip: dice.one(&[None, "10.1.1.1".parse().ok(), "192.0.2.1".parse().ok()]),
        mfa: dice.one(&[None, Some(true), Some(false)]),
        authenticated: None,
    }
}
