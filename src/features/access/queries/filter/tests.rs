//! The filter agrees with the engine on every row: random rules, random rows, brute force.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Collaborators, Columns, Filter, Seek, filter};
use crate::{
    features::access::model::{
        Bound, Circumstances, Compiled, Given, Grant, Policies, Policy, RoleRef, Standing, Verdict,
    },
    kernel::{Attributes, Field, GrantId, GroupId, Level, Millis, Permission, PolicyId, Role, UserId},
};

/// Cases: a set of rules, asked about every row.
const CASES: u64 = 10_000;
const ROWS: usize = 24;
const AT: i64 = 1_795_429_800_000;
const FIELDS: &[(Field, &str)] =
    &[(Field::Tlp, "t.tlp"), (Field::Severity, "t.severity"), (Field::Classification, "t.classification")];
const COLUMNS: Columns<'_> = Columns {
    id: "t.id",
    owner: Some("t.owner"),
    assignee: Some("t.assignee"),
    collaborators: Some(Collaborators { table: "people", thing: "thing", user: "person", level: "level" }),
    fields: FIELDS,
};

/// A generator of its own (xorshift64*): the same cases on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

fn user(number: usize) -> UserId {
    UserId(Uuid::from_u128(1 + number as u128))
}

fn group(number: usize) -> GroupId {
    GroupId(Uuid::from_u128(50 + number as u128))
}

/// A thing, whole.
fn thing(dice: &mut Dice, number: usize) -> Attributes {
    let mut thing = Attributes::whole().named(format!("t{number}"));
    let somebody = |dice: &mut Dice| (dice.roll(3) > 0).then(|| user(dice.roll(3)));
    thing.owner = somebody(dice);
    thing.assignee = somebody(dice);
    for number in 0..3 {
        if dice.roll(3) == 0 {
            thing.collaborators.push((user(number), dice.one(Level::ALL)));
        }
    }
    for (field, _) in FIELDS {
        if dice.roll(4) > 0 {
            thing = thing.field(*field, dice.one(&["red", "amber", "green"]));
        }
    }
    thing
}

fn condition(dice: &mut Dice, depth: usize) -> Value {
    let sides = if depth == 0 { 11 } else { 14 };
    match dice.roll(sides) {
        0 => json!({ "owner": true }),
        1 => json!({ "assignee": true }),
        2 => json!({ "collaborator": [dice.one(&["viewer", "collaborator", "owner"])] }),
        3 => {
            json!({ "field": dice.one(&["tlp", "severity", "classification"]), "in": [dice.one(&["red", "amber"]), "green"] })
        }
        4 => json!({ "field": dice.one(&["format", "tlp"]), "in": ["red"] }),
        5 => json!({ "mfa": true }),
        6 => json!({ "ip_in": ["10.0.0.0/8"] }),
        7 => json!({ "group": group(dice.roll(2)) }),
        8 => json!({ "auth_age_max_seconds": 60 }),
        9 => json!({ "time": { "from": "08:00", "to": dice.one(&["10:00", "18:00"]) } }),
        10 => json!({ "read_only": true }),
        11 => json!({ "not": condition(dice, depth - 1) }),
        12 => json!({ "all": [condition(dice, depth - 1), condition(dice, depth - 1)] }),
        _ => json!({ "any": [condition(dice, depth - 1), condition(dice, depth - 1)] }),
    }
}

fn grant(dice: &mut Dice, number: usize) -> Grant {
    let mut body = json!({
        "id": GrantId(Uuid::from_u128(100 + number as u128)),
        "effect": dice.one(&["allow", "allow", "deny"]),
        "subject": "everyone",
        "permissions": [dice.one(&["*:case", "delete:case", "*:*", "read:note"])],
    });
    if dice.roll(3) == 0 {
        body["resource"] = json!(format!("t{}", dice.roll(ROWS)));
    }
    if dice.roll(3) > 0 {
        body["condition"] = condition(dice, 2);
    }
    if dice.roll(5) == 0 {
        body["expires"] = json!(AT + dice.one(&[-1, 0, 1]));
    }
    serde_json::from_value(body).unwrap()
}

fn circumstances(dice: &mut Dice) -> Circumstances {
    Circumstances {
        at: Millis(AT),
        ip: dice.one(&[None, "10.1.1.1".parse().ok(), "192.0.2.1".parse().ok()]),
        mfa: dice.one(&[None, Some(true), Some(false)]),
        authenticated: dice.one(&[None, Some(Millis(AT - 1000)), Some(Millis(AT - 100_000))]),
    }
}

fn table(things: &[Attributes]) -> Connection {
    let tx = Connection::open_in_memory().unwrap();
    tx.execute_batch(
        "CREATE TABLE things (id TEXT PRIMARY KEY, owner TEXT, assignee TEXT, tlp TEXT, severity TEXT, classification TEXT);
         CREATE TABLE people (thing TEXT, person TEXT, level TEXT);",
    )
    .unwrap();
    for thing in things {
        let id = thing.id.clone().unwrap();
        let text = |user: Option<UserId>| user.map(|user| user.to_string());
        let field = |field| thing.value(field).map(str::to_owned);
        let row = (
            &id,
            text(thing.owner),
            text(thing.assignee),
            field(Field::Tlp),
            field(Field::Severity),
            field(Field::Classification),
        );
        tx.execute("INSERT INTO things VALUES (?1, ?2, ?3, ?4, ?5, ?6)", row).unwrap();
        for (person, level) in &thing.collaborators {
            let row = (&id, person.to_string(), level.name());
            tx.execute("INSERT INTO people VALUES (?1, ?2, ?3)", row).unwrap();
        }
    }
    tx
}

fn selected(tx: &Connection, filter: &Filter) -> Vec<String> {
    let sql = format!("SELECT t.id FROM things t WHERE {} ORDER BY t.id", filter.sql);
    let mut statement = tx.prepare(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    let rows = statement.query_map(params_from_iter(&filter.params), |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Whether the seeks of a filter find every one of these rows.
fn found_by_seeks(filter: &Filter, things: &[Attributes], allowed: &[String]) -> bool {
    let is = |user: Option<UserId>, id: &str| user.is_some_and(|user| user.to_string() == id);
    let finds = |seek: &Seek, thing: &Attributes| match seek {
        Seek::Id(id) => thing.id.as_ref() == Some(id),
        Seek::Owner(id) => is(thing.owner, id),
        Seek::Assignee(id) => is(thing.assignee, id),
        Seek::LetIn(id) => thing.collaborators.iter().any(|(user, _)| user.to_string() == *id),
        Seek::Field(field, value) => thing.value(*field) == Some(value),
        Seek::All => true,
    };
    let mut rows = things.iter().filter(|thing| allowed.contains(thing.id.as_ref().unwrap()));
    rows.all(|thing| filter.seeks.iter().any(|seek| finds(seek, thing)))
}

#[test]
fn the_filter_selects_the_rows_that_the_engine_allows_in_every_one_of_ten_thousand_cases() {
    let mut dice = Dice(0x5EED_0001);
    let (mut some, mut narrow) = (0, 0);
    let (mut things, mut tx) = (Vec::new(), Connection::open_in_memory().unwrap());
    for case in 0..CASES {
        if case % 200 == 0 {
            things = (0..ROWS).map(|number| thing(&mut dice, number)).collect();
            tx = table(&things);
        }
        let count = dice.roll(6);
        let grants = (0..count).map(|number| grant(&mut dice, number)).collect();
        let groups = if dice.roll(2) == 0 { vec![group(0)] } else { Vec::new() };
        let given = Given { groups, grants, ..Given::default() };
        let role = dice.one(&[Role::Analyst, Role::SeniorAnalyst, Role::TeamLead, Role::Admin]);
        let rights = Compiled::member(user(0), role, &given);
        let permission = dice.one(&[Permission::CaseRead, Permission::CaseDelete, Permission::NoteUpdate]);
        let how = circumstances(&mut dice);

        let filter = filter(&rights, permission, &COLUMNS, &how, 1);

        let mut allowed: Vec<String> = things
            .iter()
            .filter(|thing| rights.decide(permission, thing, &how).verdict == Verdict::Allowed)
            .map(|thing| thing.id.clone().unwrap())
            .collect();
        allowed.sort();
        assert!(filter.precise);
        assert_eq!(selected(&tx, &filter), allowed, "case {case}: {filter:?} of {given:?}");
        assert!(found_by_seeks(&filter, &things, &allowed), "case {case}: {filter:?} of {given:?}");
        narrow += usize::from(!allowed.is_empty() && filter.seeks != [Seek::All]);
        some += usize::from(!allowed.is_empty() && allowed.len() < things.len());
    }
    assert!(some > 1_000, "only {some} cases select some rows and not others");
    assert!(narrow > 300, "only {narrow} cases are found without a look at every row");
}

fn cedar(dice: &mut Dice, depth: usize) -> String {
    let field = dice.one(&["tlp", "severity", "classification", "format"]);
    let value = dice.one(&["red", "amber", "green"]);
    let sides = if depth == 0 { 12 } else { 17 };
    match dice.roll(sides) {
        0 => "resource has owner && resource.owner == principal".to_owned(),
        1 => "resource has assignee && principal == resource.assignee".to_owned(),
        2 => "resource.collaborators.contains(principal)".to_owned(),
        3 => format!("resource has {field} && resource.{field} == \"{value}\""),
        4 => format!("resource has {field} && [\"{value}\", \"red\"].contains(resource.{field})"),
        5 => format!("resource has {field} && resource.{field} != \"{value}\""),
        6 => "context has mfa && context.mfa".to_owned(),
        7 => "context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))".to_owned(),
        8 => format!("principal in Group::\"{}\"", group(dice.roll(2))),
        9 => format!("context.minute {} {}", dice.one(&["<", ">=", "<=", ">"]), dice.one(&[60, 630, 1000])),
        10 => format!("resource == Case::\"t{}\"", dice.roll(ROWS)),
        11 => {
            format!("resource has owner && resource.owner in [User::\"{}\", principal]", user(dice.roll(3)))
        }
        12 => format!("!({})", cedar(dice, depth - 1)),
        13 => format!("({}) && ({})", cedar(dice, depth - 1), cedar(dice, depth - 1)),
        14 => format!("({}) || ({})", cedar(dice, depth - 1), cedar(dice, depth - 1)),
        15 => {
            let [condition, yes, no] = [(); 3].map(|()| cedar(dice, depth - 1));
            format!("if {condition} then {yes} else {no}")
        }
        // What no filter can say.
        _ => format!("resource has {field} && resource.{field} like \"{}*\"", &value[..1]),
    }
}

fn policy(dice: &mut Dice, number: usize) -> Policy {
    let effect = dice.one(&["permit", "forbid"]);
    let principal = dice.one(&["principal", "principal in Role::\"senior_analyst\""]);
    let resource = dice.one(&["resource is Case", "resource is Case", "resource == Case::\"t3\""]);
    let when = dice.one(&["when", "unless"]);
    let condition = cedar(dice, 2);
    Policy {
        id: PolicyId(Uuid::from_u128(500 + number as u128)),
        name: number.to_string(),
        text: format!(
            "{effect} ({principal}, action in [Action::\"read\", Action::\"delete\"], {resource}) {when} {{ {condition} }};"
        ),
    }
}

#[test]
fn policies_are_said_on_rows_or_owned_to_be_imprecise() {
    let mut dice = Dice(0x5EED_0002);
    let things: Vec<_> = (0..ROWS).map(|number| thing(&mut dice, number)).collect();
    let tx = table(&things);
    let (mut precise, mut some) = (0, 0);
    for case in 0..1_000 {
        let count = 1 + dice.roll(3);
        let policies: Vec<_> = (0..count).map(|number| policy(&mut dice, number)).collect();
        let Ok(read) = Policies::read(&policies) else { panic!("case {case}: {policies:?}") };
        let groups = [group(0)];
        let role = dice.one(&[Role::Analyst, Role::TeamLead]);
        let roles = role.lineage().map(|role| (RoleRef::BuiltIn(role), None));
        let bound = Bound::new(Arc::new(read), user(0), &groups, roles);
        let grants = (0..dice.roll(3)).map(|number| grant(&mut dice, number)).collect();
        let given = Given { groups: groups.to_vec(), grants, ..Given::default() };
        let rights = Compiled::member(user(0), role, &given).with_policies(bound);
        let permission = dice.one(&[Permission::CaseRead, Permission::CaseDelete]);
        let how = circumstances(&mut dice);

        let filter = filter(&rights, permission, &COLUMNS, &how, 1);

        let mut allowed: Vec<String> = things
            .iter()
            .filter(|thing| rights.decide(permission, thing, &how).verdict == Verdict::Allowed)
            .map(|thing| thing.id.clone().unwrap())
            .collect();
        allowed.sort();
        let selected = selected(&tx, &filter);
        if filter.precise {
            precise += 1;
            assert_eq!(selected, allowed, "case {case}: {filter:?} of {policies:?}");
        } else {
            assert!(
                allowed.iter().all(|id| selected.contains(id)),
                "case {case}: {filter:?} of {policies:?}"
            );
        }
        assert!(found_by_seeks(&filter, &things, &allowed), "case {case}: {filter:?} of {policies:?}");
        some += usize::from(!allowed.is_empty() && allowed.len() < things.len());
    }
    assert!(precise > 500 && precise < 1_000, "{precise} of 1000 are precise");
    assert!(some > 200, "only {some} cases select some rows and not others");
}

#[test]
fn who_is_no_member_sees_all_or_nothing() {
    let how = Circumstances::default();
    let of = |standing| filter(&Compiled::fixed(standing), Permission::CaseRead, &COLUMNS, &how, 1).sql;
    assert_eq!(of(Standing::System), "1");
    for standing in [Standing::Overseer, Standing::Operator, Standing::Stranger] {
        assert_eq!(of(standing), "0");
    }
}

#[test]
fn parameters_are_numbered_behind_those_of_the_list() {
    let rights = Compiled::member(user(0), Role::Analyst, &Given::default());
    let filter = filter(&rights, Permission::NoteUpdate, &COLUMNS, &Circumstances::default(), 4);
    assert_eq!(filter.sql, "t.owner IS ?4");
    assert_eq!(filter.params.len(), 1);
}
