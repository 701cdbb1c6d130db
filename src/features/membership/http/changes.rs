//! Changes of the cluster's nodes: who votes, who leads, who goes.

use std::time::Duration;

use serde_json::json;

use super::super::commands::{Change, RequestChange};
use crate::{
    cluster::{ChangeError, Unanswered},
    kernel::{OrgId, Permission},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

/// A change waits for a committed entry, and perhaps for a new leader.
const CHANGE_WITHIN: Duration = Duration::from_secs(15);
/// A checkpoint writes and syncs every file that changed.
const SNAPSHOT_WITHIN: Duration = Duration::from_mins(1);
/// As the configuration takes them.
const NODE_MAX: u64 = 65_535;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    let route = |method, path, operation, summary, change| {
        Route::v2(method, path, operation, summary, Needs::Caller, move |cx| Box::pin(make(cx, change)))
            .asks(read_force)
    };
    vec![
        route(
            Method::Post,
            "/cluster/nodes/{id}/promote",
            "promoteNode",
            "Make a voter of a learner",
            Change::Promote,
        ),
        route(
            Method::Post,
            "/cluster/nodes/{id}/demote",
            "demoteNode",
            "Make a learner of a voter, until it is promoted",
            Change::Demote,
        ),
        route(
            Method::Post,
            "/cluster/nodes/{id}/transfer",
            "transferLeadership",
            "Hand the leadership to a node",
            Change::Transfer,
        ),
        route(
            Method::Delete,
            "/cluster/nodes/{id}",
            "removeNode",
            "Remove a node; its number is never given again",
            Change::Remove,
        ),
        Route::v2(
            Method::Post,
            "/cluster/snapshot",
            "makeSnapshot",
            "Make everything applied durable in this node's files, and cut its log below",
            Needs::Caller,
            |cx| Box::pin(snapshot(cx)),
        ),
    ]
}

fn read_force(query: &mut QueryFields) -> bool {
    query.parsed("force", value::switch()).unwrap_or(false)
}

/// The trail first, then the change: what was begun is known even if the node dies in between.
async fn make(cx: Cx, change: Change) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut query = cx.query();
    let force = read_force(&mut query);
    query.finish()?;
    let node = cx.param("id").parse().ok().filter(|node| (1..=NODE_MAX).contains(node));
    let node: u64 = node.ok_or_else(Problem::not_found)?;
    let replica = cx.cluster.replica();
    if !replica.status().members.iter().any(|member| member.node == node) {
        return Err(Problem::not_found());
    }
    if change == Change::Remove {
        // Asked before the number is retired, which cannot be taken back.
        replica.may_remove(node, force, CHANGE_WITHIN).await.map_err(refused)?;
    }
    let answer = cx.cluster.propose(&cx.ticket, system, &RequestChange { change, node, force }).await?;
    let made = match change {
        Change::Promote => replica.promote(node, CHANGE_WITHIN).await,
        Change::Demote => replica.demote(node, force, CHANGE_WITHIN).await,
        Change::Remove => replica.remove(node, force, CHANGE_WITHIN).await,
        Change::Transfer => replica.transfer_leadership(node, CHANGE_WITHIN).await,
    };
    made.map_err(refused)?;
    Ok(Reply::ok(json!({ "node": node, "done": change })).after(&answer))
}

async fn snapshot(cx: Cx) -> Result<Reply, Problem> {
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let index = cx.cluster.replica().checkpoint(SNAPSHOT_WITHIN).await.map_err(Unanswered::from)?;
    Ok(Reply::ok(json!({ "checkpoint_index": index })))
}

fn refused(error: ChangeError) -> Problem {
    match error {
        ChangeError::Refused(why) => {
            Problem::new(409, "change_refused", "The cluster cannot be changed so", why)
        }
        ChangeError::Unavailable(reason) => Unanswered::from(reason).into(),
    }
}
