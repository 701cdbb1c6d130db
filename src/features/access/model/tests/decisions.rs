//! Decisions: the order of floor, denials, allowances, no.

use serde_json::{Value, json};

use super::{AT, now, user, with_grants};
use crate::{
    features::access::model::{
        Circumstances, Compiled, Condition, CustomRole, Given, Reason, Standing, UNDENIABLE, Verdict,
    },
    kernel::{Attributes, Field, Millis, Permission, PermissionSet, Role, RoleId, UserId},
};

const READ: Permission = Permission::InvestigationRead;
const DELETE: Permission = Permission::InvestigationDelete;

fn verdict(rights: &Compiled, permission: Permission, thing: &Attributes) -> Verdict {
    rights.decide(permission, thing, &now()).verdict
}

fn allow(permissions: &str) -> Value {
    json!({ "effect": "allow", "subject": "everyone", "permissions": [permissions] })
}

fn deny(permissions: &str) -> Value {
    json!({ "effect": "deny", "subject": "everyone", "permissions": [permissions] })
}

fn with(mut grant: Value, name: &str, value: Value) -> Value {
    grant[name] = value;
    grant
}

#[test]
fn a_denial_wins_over_the_role_and_over_a_grant() {
    let rights = with_grants(Role::Analyst, vec![allow("delete:investigation"), deny("*:investigation")]);
    for permission in [READ, DELETE] {
        assert_eq!(verdict(&rights, permission, &Attributes::whole()), Verdict::Denied);
    }
    assert_eq!(verdict(&rights, Permission::CaseRead, &Attributes::whole()), Verdict::Allowed);
}

#[test]
fn a_grant_ends_at_its_moment_and_so_does_a_denial() {
    let (now_is, next) = (AT, Millis(AT.0 + 1));
    for (expires, holds) in [(now_is, false), (next, true)] {
        let rights = with_grants(Role::Analyst, vec![with(allow("delete:case"), "expires", json!(expires))]);
        let allowed = verdict(&rights, Permission::CaseDelete, &Attributes::whole());
        assert_eq!(allowed == Verdict::Allowed, holds);
        let rights = with_grants(Role::Analyst, vec![with(deny("read:case"), "expires", json!(expires))]);
        let denied = verdict(&rights, Permission::CaseRead, &Attributes::whole());
        assert_eq!(denied == Verdict::Denied, holds);
    }
}

#[test]
fn a_grant_for_one_thing_is_for_no_other() {
    let rights = with_grants(Role::Analyst, vec![with(allow("delete:case"), "resource", json!("c1"))]);
    let is = |thing: Attributes| verdict(&rights, Permission::CaseDelete, &thing);
    assert_eq!(is(Attributes::whole().named("c1")), Verdict::Allowed);
    assert_eq!(is(Attributes::whole().named("c2")), Verdict::Denied);
    assert_eq!(is(Attributes::whole()), Verdict::Denied);
    assert_eq!(is(Attributes::UNKNOWN), Verdict::Depends);
}

#[test]
fn what_is_unknown_neither_refuses_early_nor_permits_finally() {
    let rights =
        with_grants(Role::Analyst, vec![with(deny("read:case"), "condition", json!({ "owner": true }))]);
    assert_eq!(verdict(&rights, Permission::CaseRead, &Attributes::UNKNOWN), Verdict::Depends);
    assert!(rights.require_some(Permission::CaseRead, &now()).is_ok());
    assert!(rights.require(Permission::CaseRead, &Attributes::UNKNOWN, &now()).is_err());
    let other = Attributes::whole().owned_by(UserId(super::id(9)));
    assert!(rights.require(Permission::CaseRead, &other, &now()).is_ok());
    let own = Attributes::whole().owned_by(user());
    assert!(rights.require(Permission::CaseRead, &own, &now()).is_err());
    // Nothing allows it whoever owns it: the doubt about the denial does not matter.
    let rights =
        with_grants(Role::Analyst, vec![with(deny("delete:case"), "condition", json!({ "owner": true }))]);
    assert_eq!(verdict(&rights, Permission::CaseDelete, &Attributes::UNKNOWN), Verdict::Denied);
}

#[test]
fn a_denial_that_hangs_on_an_unknown_address_is_not_passed() {
    let outside = json!({ "not": { "ip_in": ["10.0.0.0/8"] } });
    let rights = with_grants(Role::Analyst, vec![with(deny("read:case"), "condition", outside)]);
    assert!(rights.require(Permission::CaseRead, &Attributes::whole(), &now()).is_err());
    let inside = Circumstances { ip: "10.1.1.1".parse().ok(), ..now() };
    assert!(rights.require(Permission::CaseRead, &Attributes::whole(), &inside).is_ok());
}

#[test]
fn the_built_in_roles_hold_what_they_hold_on_their_conditions() {
    let is = |role, permission, thing: &Attributes| {
        verdict(&Compiled::member(user(), role, &Given::default()), permission, thing) == Verdict::Allowed
    };
    let own = Attributes::whole().owned_by(user());
    let format = |format: &str| Attributes::whole().field(Field::Format, format);
    assert!(is(Role::Analyst, Permission::NoteUpdate, &own));
    assert!(!is(Role::Analyst, Permission::NoteUpdate, &Attributes::whole()));
    assert!(!is(Role::Analyst, Permission::NoteDelete, &own));
    assert!(is(Role::SeniorAnalyst, Permission::NoteDelete, &own));
    assert!(is(Role::Analyst, Permission::DataExport, &format("png")));
    assert!(!is(Role::Analyst, Permission::DataExport, &format("stix")));
    assert!(is(Role::SeniorAnalyst, Permission::DataExport, &format("stix")));
    assert!(!is(Role::TeamLead, Permission::DataExport, &format("csv")));
    assert!(is(Role::Admin, Permission::DataExport, &format("csv")));
    let reading = Attributes { read_only: Some(true), ..Attributes::whole() };
    assert!(is(Role::SeniorAnalyst, Permission::SiemIntegrate, &reading));
    assert!(!is(Role::SeniorAnalyst, Permission::SiemIntegrate, &Attributes::whole()));
    let limited = Attributes { limited: Some(true), ..Attributes::whole() };
    assert!(is(Role::TeamLead, Permission::SettingsUpdate, &limited));
    assert!(!is(Role::TeamLead, Permission::SettingsUpdate, &Attributes::whole()));
    assert!(is(Role::Admin, Permission::SettingsUpdate, &Attributes::whole()));
    assert!(!is(Role::SeniorAnalyst, DELETE, &own));
    assert!(is(Role::TeamLead, DELETE, &own));
}

#[test]
fn no_grant_reaches_beyond_the_floor() {
    let rights = with_grants(Role::Admin, vec![allow("*:*")]);
    for permission in [
        Permission::ClusterManage,
        Permission::RegistryManage,
        Permission::OrganizationPlan,
        Permission::SystemOnly,
    ] {
        assert_eq!(verdict(&rights, permission, &Attributes::whole()), Verdict::Denied, "{permission}");
    }
    for standing in [Standing::Overseer, Standing::Operator] {
        for permission in [Permission::GrantManage, Permission::RoleManage, READ] {
            assert_eq!(
                verdict(&Compiled::fixed(standing), permission, &Attributes::whole()),
                Verdict::Denied
            );
        }
    }
}

#[test]
fn a_denial_of_everything_leaves_administrators_what_it_takes_to_undo_it() {
    let rights = with_grants(Role::Admin, vec![deny("*:*")]);
    for permission in PermissionSet::GRANTABLE.iter() {
        let wanted = if UNDENIABLE.holds(permission) { Verdict::Allowed } else { Verdict::Denied };
        assert_eq!(verdict(&rights, permission, &Attributes::whole()), wanted, "{permission}");
    }
    let rights = with_grants(Role::TeamLead, vec![allow("manage:role"), deny("*:*")]);
    assert_eq!(verdict(&rights, Permission::RoleManage, &Attributes::whole()), Verdict::Denied);
}

#[test]
fn a_custom_role_adds_its_rules_until_it_ends() {
    let role = CustomRole {
        id: RoleId(super::id(5)),
        name: "closer".to_owned(),
        description: String::new(),
        inherits: Vec::new(),
        rules: serde_json::from_value(json!([
            { "permissions": ["delete:case"], "condition": { "assignee": true } },
            { "permissions": ["delete:investigation"] },
        ]))
        .unwrap(),
    };
    let until = |expires| {
        let given = Given { roles: vec![(role.clone(), expires)], ..Given::default() };
        Compiled::member(user(), Role::Analyst, &given)
    };
    let mine = Attributes { assignee: Some(user()), ..Attributes::whole() };
    assert_eq!(verdict(&until(None), Permission::CaseDelete, &mine), Verdict::Allowed);
    assert_eq!(verdict(&until(None), Permission::CaseDelete, &Attributes::whole()), Verdict::Denied);
    assert_eq!(verdict(&until(None), DELETE, &Attributes::UNKNOWN), Verdict::Allowed);
    assert_eq!(verdict(&until(Some(AT)), DELETE, &Attributes::UNKNOWN), Verdict::Denied);
    let decision = until(None).decide(DELETE, &Attributes::whole(), &now());
    assert_eq!(until(None).explain(DELETE, &decision)["rule"]["name"], "closer");
}

#[test]
fn nobody_gives_what_it_does_not_hold_nor_more_widely_nor_for_longer() {
    let condition = |value: Value| Condition::parse(&value, "").unwrap();
    let own = condition(json!({ "owner": true }));
    let own_with_mfa = condition(json!({ "all": [{ "owner": true }, { "mfa": true }] }));
    let rights = with_grants(
        Role::Analyst,
        vec![
            with(allow("delete:case"), "condition", json!({ "owner": true })),
            with(allow("delete:activity"), "resource", json!("a1")),
            with(allow("delete:indicator"), "expires", json!(AT.0 + 1000)),
            with(deny("read:note"), "condition", json!({ "mfa": true })),
        ],
    );
    let may = |permission, condition: Option<&Condition>, resource, until: Option<i64>| {
        rights.may_pass_on(permission, condition, resource, until.map(|ms| Millis(AT.0 + ms)), AT)
    };
    assert!(may(READ, None, None, None));
    assert!(!may(DELETE, None, None, None));
    assert!(!may(Permission::CaseDelete, None, None, None));
    assert!(may(Permission::CaseDelete, Some(&own), None, None));
    assert!(may(Permission::CaseDelete, Some(&own_with_mfa), None, None));
    assert!(!may(Permission::ActivityDelete, None, None, None));
    assert!(may(Permission::ActivityDelete, None, Some("a1"), None));
    assert!(!may(Permission::ActivityDelete, None, Some("a2"), None));
    assert!(may(Permission::IndicatorDelete, None, None, Some(1000)));
    assert!(!may(Permission::IndicatorDelete, None, None, Some(1001)));
    assert!(!may(Permission::IndicatorDelete, None, None, None));
    assert!(!may(Permission::NoteRead, None, None, None), "denied under circumstances, passed on without");
}

#[test]
fn a_decision_says_why() {
    let rights = with_grants(Role::Analyst, vec![deny("read:case")]);
    let why = |permission| {
        let decision = rights.decide(permission, &Attributes::whole(), &now());
        (decision.reason, rights.explain(permission, &decision))
    };
    let (reason, full) = why(Permission::CaseRead);
    assert_eq!((reason, &full["code"]), (Reason::Denial(0), &json!("denied")));
    assert_eq!(full["rule"]["subject"], "everyone");
    assert_eq!(why(READ).1["rule"]["role"], "analyst");
    assert_eq!(why(DELETE).1["code"], "nothing_allows");
    assert_eq!(why(Permission::ClusterManage).1["code"], "outside_the_floor");
}
