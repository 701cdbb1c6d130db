//! Who was let into an investigation.

use serde_json::json;

use super::{asker, gone, id_in_path, read, writer};
use crate::{
    features::workspace::{SetCollaborator, model::RecordKind},
    kernel::{Level, Page, Permission, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

const ALL: &str = "/organizations/{org}/investigations/{id}/collaborators";
const ONE: &str = "/organizations/{org}/investigations/{id}/collaborators/{user}";
const LEVELS: &[&str] = &["viewer", "collaborator", "owner"];

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    vec![
        Route::v2(Method::Get, ALL, "listCollaborators", "List who was let into it", caller, |cx| {
            Box::pin(list(cx))
        }),
        Route::v2(Method::Put, ONE, "setCollaborator", "Let somebody into it, at a level", caller, |cx| {
            Box::pin(put(cx))
        })
        .takes(read_level),
        Route::v2(Method::Delete, ONE, "removeCollaborator", "Let somebody out of it", caller, |cx| {
            Box::pin(remove(cx))
        }),
    ]
}

/// All of them: there are at most a hundred.
async fn list(cx: Cx) -> Result<Reply, Problem> {
    let (who, id) = (asker(&cx).await?, id_in_path(&cx, "id")?);
    let asked = who.clone();
    let found = read(&cx, &cx.view, &who, move |tx| asked.find(tx, RecordKind::Investigation, id)).await?;
    let rows = found.collaborators.iter().map(|(user, level)| json!({ "user": user, "level": level.name() }));
    Ok(Reply::page(Page { rows: rows.collect(), next: None }))
}

fn read_level(fields: &mut Fields) -> Option<Level> {
    fields.required("level", value::word::<Level>(LEVELS))
}

async fn put(cx: Cx) -> Result<Reply, Problem> {
    let who = writer(&cx, Permission::InvestigationAssign).await?;
    let (investigation, user) = (id_in_path(&cx, "id")?, id_in_path::<UserId>(&cx, "user")?);
    let mut fields = cx.fields()?;
    let level = read_level(&mut fields);
    fields.finish()?;
    let level = level.map(|level| level.name().to_owned());
    let set = SetCollaborator { investigation, user, level };
    let answer = cx.cluster.propose(&cx.ticket, who.organization, &set).await?;
    gone(&cx, &answer).await
}

async fn remove(cx: Cx) -> Result<Reply, Problem> {
    let who = writer(&cx, Permission::InvestigationAssign).await?;
    let (investigation, user) = (id_in_path(&cx, "id")?, id_in_path::<UserId>(&cx, "user")?);
    let set = SetCollaborator { investigation, user, level: None };
    let answer = cx.cluster.propose(&cx.ticket, who.organization, &set).await?;
    gone(&cx, &answer).await
}
