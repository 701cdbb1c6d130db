//! Rotation of the cluster key, for platform administrators.

use serde_json::json;

use super::{
    commands::{Rekey, Rotate, Step},
    jobs, queries,
};
use crate::{
    cluster::{Question, View},
    kernel::{OrgId, Permission},
    web::{Cx, Method, Needs, Problem, Reply, Route},
};

/// The routes of the slice.
pub fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/cluster/keys",
            "getClusterKeys",
            "Show the generation of the cluster key on every node, and what a rotation waits for",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
        Route::v2(
            Method::Post,
            "/cluster/keys/rotate",
            "rotateClusterKey",
            "Begin to rotate the cluster key; it goes on in the background until it is settled",
            Needs::Caller,
            |cx| Box::pin(rotate(cx)),
        ),
        Route::v2(
            Method::Post,
            "/organizations/{org}/keys/rotate",
            "rotateDataKey",
            "Give an organization's file another data key; every node encrypts its pages anew in the background",
            Needs::Caller,
            |cx| Box::pin(rekey(cx)),
        ),
    ]
}

async fn rotate(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let answer = cx.cluster.propose(&cx.ticket, system, &Rotate {}).await?;
    Ok(Reply::ok(json!({ "generation": answer.reply, "step": Step::Wanted })).after(&answer))
}

async fn rekey(cx: Cx) -> Result<Reply, Problem> {
    let file = cx.place(Permission::OrganizationPlan).await?;
    let present = cx.cluster.read(&View::Strong, file, queries::data_key).await?;
    let number = present.ok_or_else(Problem::not_found)?.saturating_add(1);
    let minted = cx.cluster.mint(file)?;
    let command = Rekey { number, key: minted.key().clone() };
    let answer = cx.cluster.propose(&cx.ticket, file, &command).await?;
    minted.arrived();
    Ok(Reply::ok(json!({ "id": file, "data_key": answer.reply })).after(&answer))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let newest = cx.cluster.read(&cx.view, system, queries::newest).await?.ok_or_else(Problem::not_found)?;
    let reports = jobs::ask_all(&cx.cluster, &Question::Keys).await;
    let mut waiting = match newest.step {
        Step::Active => jobs::obstacles(&reports, newest.generation),
        Step::Wanted | Step::Settled => Vec::new(),
    };
    if newest.step == Step::Active && waiting.is_empty() {
        // What the leader found in the way when it looked last.
        let said = cx.cluster.said_by_leader(jobs::WAITING).await;
        waiting = said.map_or_else(|why| vec![why], |said| serde_json::from_value(said).unwrap_or_default());
    }
    let members = reports.iter().map(|(node, report)| match report {
        Ok(report) => json!({ "node": node, "keys": report }),
        Err(why) => json!({ "node": node, "unknown": why }),
    });
    let view = json!({
        "generation": newest.generation,
        "step": newest.step,
        "waiting_for": waiting,
        "members": members.collect::<Vec<_>>(),
    });
    Ok(Reply::ok(view))
}
