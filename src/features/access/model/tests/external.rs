//! Policies about things of other services.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{id, now, user};
use crate::{
    features::access::model::{
        Bound, Compiled, External, Given, Policies, Policy, Reason, RoleRef, SLICE_MAX, Standing, Verdict,
        scope,
    },
    kernel::{Attributes, Permission, PermissionSet, PolicyId, Role},
};

fn policies(texts: &[&str]) -> Policies {
    let texts = texts.iter().zip(900..);
    let read: Vec<_> = texts
        .map(|(text, number)| Policy {
            id: PolicyId(id(number)),
            name: number.to_string(),
            text: (*text).to_owned(),
        })
        .collect();
    Policies::read(&read).unwrap()
}

fn held_to(role: Role, texts: &[&str]) -> Compiled {
    let roles = role.lineage().map(|role| (RoleRef::BuiltIn(role), None));
    let bound = Bound::new(Arc::new(policies(texts)), user(), &[], roles).unwrap();
    let bound = bound.with_email(Some("ann@acme.test".to_owned()));
    Compiled::member(user(), role, &Given::default()).with_policies(Some(bound))
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn asked(action: &str, kind: &str, id: &str, properties: Value) -> External {
    let (action, kind, id) = (action.to_owned(), kind.to_owned(), id.to_owned());
    External { action, kind, id, properties: object(properties), ..External::default() }
}

#[test]
fn a_policy_about_things_of_others_is_about_no_permission_of_the_table() {
    let read =
        |text: &str| scope(&Policy { id: PolicyId(id(1)), name: String::new(), text: text.to_owned() });
    for text in [
        "permit (principal, action, resource is External::todo);",
        "permit (principal, action == Action::\"GET\", resource == External::route::\"/todos/{id}\");",
        "forbid (principal, action, resource is External::case) when { resource.any == 1 };",
    ] {
        assert_eq!(read(text).unwrap().0, PermissionSet::NONE, "{text}");
    }
    assert!(read("permit (principal, action, resource in External::todo::\"1\");").is_err());
    let everything = held_to(Role::Analyst, &["permit (principal, action, resource is External::case);"]);
    let decided = everything.decide(Permission::CaseDelete, &Attributes::whole(), &now());
    assert_eq!(decided.verdict, Verdict::Denied, "a policy about others gave what is ours");
}

#[test]
fn what_is_said_of_the_thing_and_of_who_asks_decides() {
    let rights = held_to(
        Role::Analyst,
        &[
            "permit (principal in Role::\"analyst\", action == Action::\"edit\", resource is External::todo)
             when { resource.owner == principal.email || context.subject has role && context.subject.role == \"chief\" };",
            "permit (principal, action == Action::\"edit\", resource == External::todo::\"open\");",
            "forbid (principal, action, resource is External::todo) when { resource has frozen && resource.frozen };",
        ],
    );
    let verdict = |question: &External| rights.decide_external(question, &now()).verdict;
    let own = asked("edit", "todo", "1", json!({ "owner": "ann@acme.test" }));
    assert_eq!(verdict(&own), Verdict::Allowed);
    assert_eq!(verdict(&asked("edit", "todo", "1", json!({ "owner": "bob@acme.test" }))), Verdict::Denied);
    assert_eq!(verdict(&asked("edit", "todo", "1", json!({}))), Verdict::Denied, "no owner is said");
    let chief = External {
        subject: object(json!({ "role": "chief" })),
        ..asked("edit", "todo", "1", json!({ "owner": "bob@acme.test" }))
    };
    assert_eq!(verdict(&chief), Verdict::Allowed);
    assert_eq!(verdict(&asked("edit", "todo", "open", json!({ "owner": "x" }))), Verdict::Allowed);
    let frozen = asked(
        "edit",
        "todo",
        "open",
        json!({ "owner": "ann@acme.test", "frozen": true, "x": 1.5, "y": null }),
    );
    assert_eq!(verdict(&frozen), Verdict::Denied);
    assert_eq!(verdict(&asked("drop", "todo", "open", json!({}))), Verdict::Denied);
    assert_eq!(verdict(&asked("edit", "other", "open", json!({}))), Verdict::Denied);
}

#[test]
fn a_forbid_that_cannot_be_evaluated_forbids_and_such_a_permit_permits_nothing() {
    let rights = held_to(
        Role::Admin,
        &[
            "permit (principal, action, resource is External::todo);",
            "forbid (principal, action, resource is External::todo) when { resource.level > 3 };",
            "permit (principal, action, resource is External::note) when { resource.open };",
        ],
    );
    let verdict = |question: &External| rights.decide_external(question, &now());
    assert_eq!(verdict(&asked("read", "todo", "1", json!({ "level": 1 }))).verdict, Verdict::Allowed);
    assert_eq!(verdict(&asked("read", "todo", "1", json!({ "level": 4 }))).verdict, Verdict::Denied);
    let silent = verdict(&asked("read", "todo", "1", json!({})));
    assert_eq!((silent.verdict, silent.reason), (Verdict::Denied, Reason::Policy(PolicyId(id(901)))));
    assert_eq!(verdict(&asked("read", "note", "1", json!({}))).verdict, Verdict::Denied);
}

#[test]
fn only_members_are_asked_about() {
    let question = asked("read", "todo", "1", json!({}));
    for standing in [Standing::Stranger, Standing::Overseer, Standing::Operator, Standing::System] {
        let decided = Compiled::fixed(standing).decide_external(&question, &now());
        assert_eq!(decided.verdict, Verdict::Denied, "{standing:?}");
    }
}

#[test]
fn a_question_asks_as_few_policies_as_any_other() {
    let text = "permit (principal, action, resource is External::todo);";
    assert_eq!(policies(&vec![text; SLICE_MAX]).overfull(), None);
    assert_eq!(policies(&vec![text; SLICE_MAX + 1]).overfull(), Some("External::todo".to_owned()));
}
