//! Who would gain and who would lose, before a change is saved.

use serde_json::{Value, json};

use super::{
    body::{read_grant, read_role},
    policies::read_policy,
};
use crate::{
    features::access::{
        commands::{Difference, Proposed, Simulated, simulate},
        model::Verdict,
    },
    kernel::{GrantId, Permission, PolicyId, Refusal, RoleId},
    store::Stop,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// The route.
pub(super) fn route() -> Route {
    let summary = "Try a change without saving it: who would gain what, who would lose what";
    Route::v2(
        Method::Post,
        "/organizations/{org}/access/simulate",
        "simulateAccess",
        summary,
        Needs::Caller,
        |cx| Box::pin(run(cx)),
    )
    .takes(|fields| read_proposed(fields, uuid::Uuid::nil()))
}

/// One change, in the words of the route that would save it. `id` names the row to change; a new one when it is left out.
fn read_proposed(fields: &mut Fields, minted: uuid::Uuid) -> Option<Proposed> {
    let id = fields.optional("id", value::parsed::<uuid::Uuid>("the id of what is changed"));
    let new = id.is_none();
    let row = id.unwrap_or(minted);
    let grant = fields.nested("grant", |inner| read_grant(inner, GrantId(row)));
    let role = fields.nested("role", |inner| read_role(inner, RoleId(row)));
    let policy = fields.nested("policy", |inner| read_policy(inner, PolicyId(row)));
    let removed = fields.optional("delete_grant", value::parsed::<GrantId>("the id of a grant"));
    let changes = [
        grant.map(|grant| Proposed::Grant { grant, new }),
        role.map(|role| Proposed::Role { role, new }),
        policy.map(|policy| Proposed::Policy { policy, new }),
        removed.map(Proposed::DeleteGrant),
    ];
    let mut changes = changes.into_iter().flatten();
    let first = changes.next();
    if first.is_none() || changes.next().is_some() {
        fields.reject("grant", "or role or policy or delete_grant must be there, and only one of them");
    }
    first
}

async fn run(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::AccessReview).await?;
    let mut fields = cx.fields()?;
    let proposed = read_proposed(&mut fields, cx.mint_id());
    fields.finish()?;
    let proposed = proposed.ok_or_else(Problem::not_found)?;
    let (actor, now) = (cx.caller.actor.clone(), cx.now);
    let tried = cx.cluster.read(&cx.view, org, move |tx| match simulate(tx, org, &actor, now, proposed) {
        Ok(simulated) => Ok(Ok(simulated)),
        Err(Stop::Refused(refusal)) => Ok(Err::<Simulated, Refusal>(refusal)),
        Err(Stop::Broken(fault)) => Err(fault),
    });
    let simulated = tried.await?.ok_or_else(Problem::not_found)??;
    Ok(Reply::ok(view(&simulated)))
}

fn view(simulated: &Simulated) -> Value {
    let (gains, loses): (Vec<_>, Vec<_>) = simulated.differences.iter().partition(|one| is_gain(one));
    let each = |differences: Vec<&Difference>| differences.into_iter().map(one).collect::<Vec<_>>();
    json!({
        "gains": each(gains),
        "loses": each(loses),
        "users": simulated.users,
        "truncated": simulated.truncated,
    })
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Denied => 0,
        Verdict::Depends => 1,
        Verdict::Allowed => 2,
    }
}

fn is_gain(difference: &Difference) -> bool {
    rank(difference.after) > rank(difference.before)
}

fn one(difference: &Difference) -> Value {
    let word = |verdict| ["denied", "conditional", "allowed"].get(usize::from(rank(verdict))).copied();
    json!({
        "user": difference.user,
        "permission": difference.permission.name(),
        "before": word(difference.before),
        "after": word(difference.after),
    })
}
