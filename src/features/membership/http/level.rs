//! The level: which one is in force, what every node can, and raising it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::super::{commands::RaiseLevel, queries::level_row};
use crate::{
    cluster::{About, Cluster, Question, View},
    kernel::{Fault, OrgId, Permission},
    store::since,
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::v2(
            Method::Get,
            "/cluster/level",
            "getLevel",
            "Show the level in force, and what every node can",
            Needs::Caller,
            |cx| Box::pin(show(cx)),
        ),
        Route::v2(
            Method::Post,
            "/cluster/level",
            "raiseLevel",
            "Raise the level, once every node can",
            Needs::Caller,
            |cx| Box::pin(raise(cx)),
        )
        .takes(read_level),
    ]
}

fn read_level(fields: &mut Fields) -> Option<u32> {
    fields
        .required("level", value::integer(1, i64::from(u32::MAX)))
        .and_then(|level| u32::try_from(level).ok())
}

/// A member, and what it says of itself, or why it does not.
struct Asked {
    node: u64,
    answer: Result<About, String>,
}

async fn ask_all(cluster: &Cluster) -> Vec<Asked> {
    let members = cluster.replica().status().members;
    let asked = members.iter().map(async |member| {
        let answer = cluster.ask::<About>(member.node, &Question::About).await;
        Asked { node: member.node, answer }
    });
    join_all(asked).await
}

/// The highest level that every node can; none while one does not answer.
fn reachable(nodes: &[Asked]) -> Option<u32> {
    let levels = nodes.iter().map(|asked| asked.answer.as_ref().ok().map(|about| about.level_max));
    levels.collect::<Option<Vec<u32>>>()?.into_iter().min()
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    cx.cluster.await_view(&cx.view).await?;
    Ok(Reply::ok(view(&cx).await?))
}

async fn view(cx: &Cx) -> Result<Value, Problem> {
    let level = cx.cluster.store().level();
    let row = cx.cluster.read(&View::Local, OrgId::SYSTEM, move |tx| level_row(tx, level)).await?.flatten();
    let nodes = ask_all(&cx.cluster).await;
    let listed: Vec<Value> = nodes
        .iter()
        .map(|Asked { node, answer }| match answer {
            Ok(about) => json!({ "node": node, "version": about.version, "level_max": about.level_max,
                "files_below": about.files_below }),
            Err(why) => json!({ "node": node, "unknown": why }),
        })
        .collect();
    Ok(json!({
        "level": level,
        "version": row.as_ref().map(|row| &row.version),
        "raised_at": row.as_ref().map(|row| row.raised.to_string()),
        "raised_by": row.as_ref().map(|row| &row.raised_by),
        "level_max": reachable(&nodes),
        "files_below": cx.cluster.store().below().len(),
        "nodes": listed,
    }))
}

/// One step after the other: each is an entry and an event of its own.
async fn raise(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut fields = cx.fields()?;
    let level = read_level(&mut fields);
    fields.finish()?;
    let level = level.ok_or_else(|| Problem::field("/level", "is required"))?;
    cx.cluster.await_view(&View::Strong).await?;
    let before = cx.cluster.store().level();
    if level < before {
        let detail = format!("level {before} is in force, and a level is never lowered");
        return Err(Problem::new(409, "level_refused", "The level cannot be raised so", detail));
    }
    require_able(&ask_all(&cx.cluster).await, level)?;
    for step in before + 1..=level {
        let version = since(step).ok_or_else(|| Fault::found(format!("level {step} has no version")))?;
        let command = RaiseLevel { level: step, version: version.to_owned() };
        let ticket = cx.ticket.step(&format!("level-{step}"));
        let answer = cx.cluster.propose(&ticket, system, &command).await?;
        cx.cluster.await_view(&View::Session(Some(answer.index))).await?;
    }
    Ok(Reply::ok(view(&cx).await?))
}

/// Refuses while a node cannot, or does not say so: it would halt at the first entry of the new level.
fn require_able(nodes: &[Asked], level: u32) -> Result<(), Problem> {
    let why = |Asked { node, answer }: &Asked| match answer {
        Ok(about) if about.level_max >= level => None,
        Ok(about) => Some(format!(
            "node {node} runs version {}, which knows up to level {}: upgrade it",
            about.version, about.level_max
        )),
        Err(why) => Some(format!(
            "node {node} does not say what it can ({why}): start it, or remove it with `threatflow cluster remove \
             {node}`"
        )),
    };
    let unable: Vec<String> = nodes.iter().filter_map(why).collect();
    if unable.is_empty() {
        return Ok(());
    }
    let numbers: Vec<u64> =
        nodes.iter().filter(|asked| why(asked).is_some()).map(|asked| asked.node).collect();
    let detail = format!("not every node can work at level {level}: {}", unable.join("; "));
    Err(Problem::new(409, "level_refused", "The level cannot be raised so", detail).with("nodes", numbers))
}
