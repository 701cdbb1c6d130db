//! One decision in process: by built-in role, by role beside grants and denials with conditions, and with as many Cedar
//! policies as one question can meet.

use std::{hint::black_box, sync::Arc, time::Instant};

use serde_json::json;
use threatflow::{
    features::access::model::{
        Bound, Circumstances, Compiled, Given, Grant, Policies, Policy, RoleRef, SLICE_MAX, Verdict,
    },
    kernel::{Attributes, Field, GrantId, Millis, Permission, PolicyId, Role, UserId},
};
use uuid::Uuid;

use crate::{
    options::Options,
    report::{Report, Row},
};

/// Decisions between two looks at the clock, which costs about as much as one of them.
const BATCH: u32 = 20;

pub fn measure(options: &Options, report: &mut Report) {
    let user = UserId(Uuid::from_u128(1));
    let rounds = options.pick(2_000, 50_000);
    let plain = Compiled::member(user, Role::SeniorAnalyst, &Given::default());
    add(report, "check, built-in role", &plain, rounds, BATCH, (2.0, f64::MAX));
    let given = Given { grants: grants(), ..Given::default() };
    let ruled = Compiled::member(user, Role::SeniorAnalyst, &given);
    add(report, "check, 8 grants and 8 denials with conditions", &ruled, rounds, BATCH, (2.0, f64::MAX));
    let bound =
        Bound::new(policies(), user, &[], [(RoleRef::BuiltIn(Role::SeniorAnalyst), None)].into_iter());
    let held = ruled.with_policies(bound);
    add(
        report,
        "check, the same with 30 Cedar policies",
        &held,
        options.pick(500, 20_000),
        1,
        (f64::MAX, 80.0),
    );
}

/// Rules about other owners and formats: each is looked at, none decides.
fn grants() -> Vec<Grant> {
    let one = |number: u128| {
        let effect = if number.is_multiple_of(2) { "allow" } else { "deny" };
        let condition = json!({ "all": [{ "field": "tlp", "in": ["red", "amber"] }, { "owner": true }] });
        let body = json!({
            "id": GrantId(Uuid::from_u128(number)), "effect": effect, "subject": "everyone",
            "permissions": ["*:investigation"], "condition": condition,
        });
        serde_json::from_value(body).unwrap()
    };
    (0..16).map(one).collect()
}

/// As many as one permission can have, none of which decides.
fn policies() -> Arc<Policies> {
    let one = |number: usize| Policy {
        id: PolicyId(Uuid::from_u128(number as u128)),
        name: number.to_string(),
        text: format!(
            "forbid (principal in Role::\"analyst\", action == Action::\"update\", resource is Investigation) \
             when {{ resource has tlp && resource.tlp == \"{number}\" && context.minute < 1440 }};"
        ),
    };
    let all: Vec<_> = (0..SLICE_MAX).map(one).collect();
    Arc::new(Policies::read(&all).unwrap())
}

fn add(
    report: &mut Report,
    figure: &'static str,
    rights: &Compiled,
    rounds: u32,
    batch: u32,
    (p50_max, p99_max): (f64, f64),
) {
    let thing = Attributes::whole()
        .named("i1")
        .owned_by(UserId(Uuid::from_u128(2)))
        .field(Field::Tlp, "green")
        .field(Field::Severity, "high");
    let how = Circumstances { at: Millis(1_795_429_800_000), ..Circumstances::default() };
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..batch {
            let decision = rights.decide(black_box(Permission::InvestigationUpdate), black_box(&thing), &how);
            assert_eq!(black_box(decision).verdict, Verdict::Allowed);
        }
        times.push(begun.elapsed().as_secs_f64() * 1_000_000.0 / f64::from(batch));
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let aim = if p50_max < f64::MAX { "p50 <= 2 us" } else { "p99 <= 80 us" };
    report.add(Row {
        figure,
        of: format!("in process, {} decisions", rounds * batch),
        values: vec![("p50_us", p50), ("p99_us", p99)],
        aim: Some((aim.to_owned(), p50 <= p50_max && p99 <= p99_max)),
    });
}
