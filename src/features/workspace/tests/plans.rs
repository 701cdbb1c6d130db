//! Every statement of the slice's reads searches an index, and sorts nothing.

use std::collections::BTreeSet;

use rusqlite::{params_from_iter, types::Value};
use serde_json::json;
use uuid::Uuid;

use super::{AT, World, user};
use crate::{
    features::{
        access::{Circumstances, Compiled, SaveGrant, Seek, model::Grant},
        workspace::{
            model::{RecordKind, tag_term},
            queries::{self, Narrowed, Way},
        },
    },
    kernel::{Field, GrantId},
};

const KINDS: [RecordKind; 3] = [RecordKind::Investigation, RecordKind::Case, RecordKind::Activity];
const FIELDS: [(Field, &str); 5] = [
    (Field::Classification, "confidential"),
    (Field::Severity, "high"),
    (Field::Status, "open"),
    (Field::Priority, "low"),
    (Field::Source, "url"),
];

/// How SQLite runs a statement.
fn plan(world: &World, statement: &str) -> String {
    world.read(|tx| {
        let mut explained = tx.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
        let nothing = vec![Value::Null; explained.parameter_count()];
        let lines = explained.query_map(params_from_iter(nothing), |row| row.get::<_, String>(3))?;
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        // One row of a constant is no table.
        Ok(lines.join("; ").replace("SCAN CONSTANT ROW; ", ""))
    })
}

fn expect_a_walk(world: &World, statement: &str) -> String {
    let plan = plan(world, statement);
    let bad = ["SCAN", "TEMP B-TREE", "AUTOMATIC"].iter().find(|word| plan.contains(**word));
    assert!(plan.contains("SEARCH") && bad.is_none(), "{bad:?} in {plan}\nof {statement}");
    plan
}

/// What a user who may see only what `condition` says is held to.
fn held_to(world: &mut World, condition: &serde_json::Value) -> Compiled {
    world.execute("DELETE FROM access_grants");
    let body = json!({
        "id": GrantId(Uuid::from_u128(1)), "effect": "deny", "subject": format!("user:{}", user(1)),
        "permissions": ["read:investigation", "read:case", "read:activity", "read:note"],
        "condition": { "not": condition },
    });
    let grant: Grant = serde_json::from_value(body).unwrap();
    world.by(0, &SaveGrant { grant, new: true, if_version: None }).unwrap();
    world.rights(1)
}

/// The conditions that lead to each kind of seek, and one that leads to none.
fn conditions() -> Vec<serde_json::Value> {
    let mut all = vec![
        json!({ "owner": true }),
        json!({ "any": [{ "owner": true }, { "assignee": true }, { "collaborator": ["viewer", "owner"] }] }),
        json!({ "not": { "field": "classification", "in": ["confidential", "restricted"] } }),
    ];
    all.extend(FIELDS.map(|(field, value)| json!({ "field": field.name(), "in": [value] })));
    all
}

fn narrowings() -> Vec<Narrowed> {
    let whole = Narrowed::default();
    let terms = vec!["beacon".to_owned(), tag_term("apt")];
    let fields: Vec<_> = FIELDS.iter().map(|(field, value)| (*field, (*value).to_owned())).collect();
    let mut all = vec![
        Narrowed { owner: Some(user(2)), ..whole.clone() },
        Narrowed { assignee: Some(user(2)), ..whole.clone() },
        Narrowed { terms: terms.clone(), ..whole.clone() },
        Narrowed { owner: Some(user(2)), assignee: Some(user(1)), terms, fields: fields.clone() },
        whole.clone(),
    ];
    all.extend(fields.into_iter().map(|field| Narrowed { fields: vec![field], ..whole.clone() }));
    all
}

#[test]
fn every_list_walks_an_index_in_its_order_whatever_the_rules_and_the_narrowing() {
    let mut world = World::new();
    let how = Circumstances { at: AT, ..Circumstances::default() };
    let mut walked = BTreeSet::new();
    for condition in conditions() {
        let rights = held_to(&mut world, &condition);
        for (kind, narrowed) in KINDS.iter().flat_map(|kind| narrowings().into_iter().map(|one| (*kind, one)))
        {
            let (ways, _) = queries::ways(kind, (&rights, &how), &narrowed);
            for (way, statement) in ways {
                let plan = expect_a_walk(&world, &statement);
                let index = match &way {
                    Way::Seek(Seek::All | Seek::Id(_)) => {
                        "SEARCH t USING PRIMARY KEY (kind=? AND id".to_owned()
                    }
                    Way::Seek(Seek::Owner(_)) => "by_owner (kind=? AND owner=? AND id<?)".to_owned(),
                    Way::Seek(Seek::Assignee(_)) => "by_assignee (kind=? AND assignee=? AND id<?)".to_owned(),
                    Way::Seek(Seek::LetIn(_)) => "by_user (user_id=? AND investigation<?)".to_owned(),
                    Way::Seek(Seek::Field(field, _)) => {
                        let name = field.name();
                        format!("by_{name} (kind=? AND {name}=? AND id<?)")
                    }
                    Way::Term(_) => "SEARCH s USING PRIMARY KEY (kind=? AND term=? AND id<?)".to_owned(),
                };
                assert!(plan.contains(&index), "{way:?} is not along {index}: {plan}\nof {statement}");
                walked.insert(index);
            }
        }
    }
    assert_eq!(walked.len(), 10, "not every way was looked at: {walked:#?}");
}

#[test]
fn one_record_is_found_by_its_key() {
    let world = World::new();
    for kind in KINDS {
        let way = Way::Seek(Seek::Id(Uuid::nil().to_string()));
        let plan = expect_a_walk(&world, &queries::statement(kind, &way, "(1)"));
        assert!(plan.contains("SEARCH t USING PRIMARY KEY (kind=? AND id"), "{plan}");
    }
}

#[test]
fn notes_and_single_records_are_found_by_their_keys() {
    let mut world = World::new();
    let how = Circumstances { at: AT, ..Circumstances::default() };
    for condition in [json!({ "owner": true }), json!({ "not": { "field": "type", "in": ["action"] } })] {
        let rights = held_to(&mut world, &condition);
        for statement in queries::note_statements(&rights, &how) {
            let plan = expect_a_walk(&world, &statement);
            assert!(plan.contains("(investigation=?"), "{plan}\nof {statement}");
        }
    }
    for statement in queries::RECORD_STATEMENTS {
        expect_a_walk(&world, statement);
    }
}
