//! The second tier: what policies are taken, and what they decide beside the first.

use std::sync::Arc;

use super::{id, now, user};
use crate::{
    features::access::model::{
        Bound, Circumstances, Compiled, Given, Policies, Policy, Reason, RoleRef, SLICE_MAX, TEXT_BYTES_MAX,
        Verdict, scope,
    },
    kernel::{Attributes, Field, GroupId, Permission, PermissionSet, PolicyId, Role, UserId},
};

fn policy(number: u128, text: &str) -> Policy {
    Policy { id: PolicyId(id(number)), name: number.to_string(), text: text.to_owned() }
}

fn held_to(role: Role, texts: &[&str]) -> Compiled {
    let policies: Vec<_> = texts.iter().zip(900..).map(|(text, number)| policy(number, text)).collect();
    let policies = Arc::new(Policies::read(&policies).unwrap());
    let groups = [GroupId(id(7))];
    let roles = role.lineage().map(|role| (RoleRef::BuiltIn(role), None));
    let bound = Bound::new(policies, user(), &groups, roles).unwrap();
    let given = Given { groups: groups.to_vec(), ..Given::default() };
    Compiled::member(user(), role, &given).with_policies(Some(bound))
}

fn verdict(rights: &Compiled, permission: Permission, thing: &Attributes) -> Verdict {
    rights.decide(permission, thing, &now()).verdict
}

#[test]
fn a_policy_must_fit_the_schema_and_a_permit_must_name_its_actions() {
    let reads = |text: &str| scope(&policy(1, text));
    assert!(reads("forbid (principal, action, resource);").is_ok());
    let export = reads("permit (principal, action == Action::\"export\", resource is Data);").unwrap();
    assert_eq!(export, (PermissionSet::of(&[Permission::DataExport]), true));
    for wrong in [
        "",
        "permit (principal, action, resource);",
        "forbid (principal, action, resource); forbid (principal, action, resource);",
        "forbid (principal == ?principal, action, resource);",
        "forbid (principal, action == Action::\"fly\", resource);",
        "forbid (principal, action == Action::\"export\", resource is Case);",
        "forbid (principal, action, resource is Planet);",
        "forbid (principal, action, resource) when { resource.owner == principal };",
        "forbid (principal, action, resource) when { resource has owner && resource.owner == \"me\" };",
        "forbid (principal, action, resource) when { context.mfa };",
    ] {
        assert!(reads(wrong).is_err(), "{wrong}");
    }
    let long = format!("forbid (principal, action, resource); //{}", "x".repeat(TEXT_BYTES_MAX));
    assert!(reads(&long).is_err());
}

#[test]
fn every_type_and_action_of_the_table_can_be_named() {
    for permission in PermissionSet::GRANTABLE.iter() {
        let kind: String =
            permission.resource().split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let text =
            format!("permit (principal, action == Action::\"{}\", resource is {kind});", permission.action());
        assert_eq!(scope(&policy(1, &text)), Ok((PermissionSet::of(&[permission]), true)), "{text}");
    }
}

#[test]
fn a_forbid_wins_over_role_and_permit_and_names_itself() {
    let rights = held_to(
        Role::Analyst,
        &[
            "forbid (principal in Role::\"analyst\", action == Action::\"read\", resource is Case) when { resource has tlp && resource.tlp == \"red\" };",
            "permit (principal, action in [Action::\"read\", Action::\"delete\"], resource is Case);",
        ],
    );
    let (red, green) =
        (Attributes::whole().field(Field::Tlp, "red"), Attributes::whole().field(Field::Tlp, "green"));
    let decision = rights.decide(Permission::CaseRead, &red, &now());
    assert_eq!((decision.verdict, decision.reason), (Verdict::Denied, Reason::Policy(PolicyId(id(900)))));
    assert_eq!(verdict(&rights, Permission::CaseRead, &green), Verdict::Allowed);
    assert_eq!(verdict(&rights, Permission::CaseRead, &Attributes::UNKNOWN), Verdict::Depends);
    let deleted = rights.decide(Permission::CaseDelete, &green, &now());
    assert_eq!((deleted.verdict, deleted.reason), (Verdict::Allowed, Reason::Policy(PolicyId(id(901)))));
}

#[test]
fn a_policy_sees_the_owner_the_groups_and_the_circumstances() {
    let rights = held_to(
        Role::Analyst,
        &[
            "permit (principal, action == Action::\"delete\", resource is Note) when { resource has owner && resource.owner == principal };",
            "permit (principal in Group::\"00000000-0000-0000-0000-000000000007\", action == Action::\"delete\", resource is Case);",
            "permit (principal, action == Action::\"delete\", resource is Activity) when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\")) };",
            "forbid (principal, action == Action::\"create\", resource is Case) unless { context has mfa && context.mfa };",
        ],
    );
    assert_eq!(
        verdict(&rights, Permission::NoteDelete, &Attributes::whole().owned_by(user())),
        Verdict::Allowed
    );
    let other = Attributes::whole().owned_by(UserId(id(2)));
    assert_eq!(verdict(&rights, Permission::NoteDelete, &other), Verdict::Denied);
    // Without a look at the thing: its type is enough.
    assert_eq!(verdict(&rights, Permission::CaseDelete, &Attributes::UNKNOWN), Verdict::Allowed);
    let how = |ip: &str, mfa| Circumstances { ip: ip.parse().ok(), mfa, ..now() };
    let is = |permission, how| rights.decide(permission, &Attributes::UNKNOWN, &how).verdict;
    assert_eq!(is(Permission::ActivityDelete, how("10.0.0.1", None)), Verdict::Allowed);
    assert_eq!(is(Permission::ActivityDelete, how("192.0.2.1", None)), Verdict::Denied);
    assert_eq!(is(Permission::CaseCreate, how("10.0.0.1", None)), Verdict::Denied);
    assert_eq!(is(Permission::CaseCreate, how("10.0.0.1", Some(true))), Verdict::Allowed);
}

#[test]
fn administrators_are_not_locked_out_by_a_policy_and_nobody_is_let_beyond_the_floor() {
    let rights = held_to(Role::Admin, &["forbid (principal, action, resource);"]);
    assert_eq!(verdict(&rights, Permission::PolicyManage, &Attributes::whole()), Verdict::Allowed);
    assert_eq!(verdict(&rights, Permission::CaseRead, &Attributes::whole()), Verdict::Denied);
    let rights = held_to(Role::TeamLead, &["forbid (principal, action, resource);"]);
    assert_eq!(verdict(&rights, Permission::UserRead, &Attributes::whole()), Verdict::Denied);
}

#[test]
fn policies_about_other_permissions_are_not_asked_and_too_many_are_seen() {
    let texts: Vec<_> = (0..=SLICE_MAX)
        .map(|number| {
            format!("forbid (principal == User::\"{number}\", action == Action::\"read\", resource is Case);")
        })
        .collect();
    let read: Vec<_> = texts.iter().zip(900..).map(|(text, number)| policy(number, text)).collect();
    assert_eq!(Policies::read(&read).unwrap().overfull(), Some("read:case".to_owned()));
    assert_eq!(Policies::read(&read[1..]).unwrap().overfull(), None);
    let rights = held_to(Role::Analyst, &[&texts[0]]);
    let bound = rights.policies().unwrap();
    assert_eq!(bound.about(Permission::CaseRead).count(), 1);
    assert_eq!(bound.about(Permission::CaseCreate).count(), 0);
}

#[test]
fn a_user_that_looks_at_itself_is_one_entity() {
    let rights = held_to(
        Role::TeamLead,
        &[
            "forbid (principal in Role::\"team_lead\", action == Action::\"read\", resource is User) when { principal == resource };",
        ],
    );
    let of = |user: UserId| Attributes::whole().named(user.to_string());
    assert_eq!(verdict(&rights, Permission::UserRead, &of(user())), Verdict::Denied);
    assert_eq!(verdict(&rights, Permission::UserRead, &of(UserId(id(2)))), Verdict::Allowed);
}
