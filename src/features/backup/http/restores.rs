//! Bringing one organization back while the cluster serves.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    super::{
        RESTORE_REPORT,
        commands::{Ended, RequestRestore},
        model::Until,
        queries::{self, Restore},
    },
    Answer,
};
use crate::{
    cluster::View,
    kernel::{OrgId, Permission},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route, value},
};

const SHOWN: u32 = 100;

/// Their routes.
pub(super) fn routes() -> Vec<Route> {
    let route = |method, path, operation, summary, handler: fn(Cx) -> Answer| {
        Route::v2(method, path, operation, summary, Needs::Caller, handler)
    };
    vec![
        route(
            Method::Post,
            "/cluster/backup/restores",
            "requestRestore",
            "Bring one organization back to a moment, in its own place or in that of a new one, while all others go on",
            |cx| Box::pin(request(cx)),
        )
        .takes(read)
        .answers(202),
        route(
            Method::Get,
            "/cluster/backup/restores",
            "listRestores",
            "List organizations that were brought back, the newest first",
            |cx| Box::pin(list(cx)),
        ),
        route(
            Method::Get,
            "/cluster/backup/restores/{restore}",
            "getRestore",
            "Show how far the restore of an organization is, and what became of it",
            |cx| Box::pin(show(cx)),
        ),
    ]
}

/// What is asked for.
struct Asked {
    organization: OrgId,
    into: OrgId,
    target: Option<String>,
    until: Until,
}

fn read(fields: &mut Fields) -> Option<Asked> {
    let organization = fields.required("organization", value::parsed::<OrgId>("the id of an organization"));
    let into = fields.optional(
        "into",
        value::parsed::<OrgId>("the id of an organization that is as it was made; its own place, if absent"),
    );
    let target = fields.optional("target", value::text(32));
    let index = fields.optional("index", value::integer(1, i64::MAX));
    let timestamp = fields.optional("timestamp", value::moment());
    let until = match (index.and_then(|index| u64::try_from(index).ok()), timestamp) {
        (Some(_), Some(_)) => {
            fields.forbid("timestamp", "cannot be given together with index");
            return None;
        }
        (Some(index), None) => Until::Index(index),
        (None, Some(at)) => Until::At(at),
        (None, None) => Until::Newest,
    };
    let organization = organization?;
    Some(Asked { organization, into: into.unwrap_or(organization), target, until })
}

async fn request(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    let mut fields = cx.fields()?;
    let asked = read(&mut fields);
    fields.finish()?;
    let Asked { organization, into, target, until } =
        asked.ok_or_else(|| Problem::field("/organization", "is required"))?;
    if organization.is_system() || into.is_system() {
        return Err(Problem::field(
            "/organization",
            "must be an organization: the system file comes back with the whole cluster",
        ));
    }
    if !cx.cluster.store().exists(into) {
        let (pointer, detail) = if into == organization {
            ("/organization", "names none that is here; one that was erased is in no backup either")
        } else {
            ("/into", "names no organization that is here: make one first, and restore into it")
        };
        return Err(Problem::field(pointer, detail));
    }
    let target = match target {
        Some(target) => target,
        None => first_target(&cx).await?,
    };
    let command = RequestRestore { id: cx.mint_id(), organization, into, target, until };
    let answer = cx.cluster.propose(&cx.ticket, system, &command).await?;
    let id = answer.reply;
    let look = move |tx: &rusqlite::Connection| queries::find_restore(tx, id);
    let stored = cx.cluster.read(&View::Session(Some(answer.index)), system, look).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(view(&stored, None)).status(202).after(&answer))
}

async fn first_target(cx: &Cx) -> Result<String, Problem> {
    let names = cx.cluster.read(&View::Strong, OrgId::SYSTEM, queries::target_names).await?;
    names.unwrap_or_default().into_iter().next().ok_or_else(|| {
        let detail = "make a target first: PUT /cluster/backup/targets/NAME";
        Problem::new(409, "wrong_state", "There is no backup", detail)
    })
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let stored = cx.cluster.read(&cx.view, system, |tx| queries::restores(tx, SHOWN)).await?;
    let shown: Vec<Value> = stored.unwrap_or_default().iter().map(|restore| view(restore, None)).collect();
    Ok(Reply::ok(json!({ "restores": shown })))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let system = cx.place_of(&OrgId::SYSTEM.to_string(), Permission::ClusterManage).await?;
    cx.query().finish()?;
    let id = cx.param("restore").parse::<Uuid>().map_err(|_| Problem::not_found())?;
    let stored = cx.cluster.read(&cx.view, system, move |tx| queries::find_restore(tx, id)).await?.flatten();
    let stored = stored.ok_or_else(Problem::not_found)?;
    let live =
        if stored.ended.is_none() { cx.cluster.said_by_leader(RESTORE_REPORT).await.ok() } else { None };
    Ok(Reply::ok(view(&stored, live.as_ref())))
}

/// A restore as it is shown; `live` is what the leader says of the one that it is at.
fn view(restore: &Restore, live: Option<&Value>) -> Value {
    let Restore { id, organization, into, target, until, at, ended } = restore;
    let id_text = id.to_string();
    let far = live.filter(|live| live.get("id").and_then(Value::as_str) == Some(&id_text));
    let (index, timestamp) = match until {
        Until::Newest => (None, None),
        Until::Index(index) => (Some(*index), None),
        Until::At(at) => (None, Some(at.to_string())),
    };
    let state = match ended {
        None => "wanted",
        Some((_, Ended::Done { .. })) => "done",
        Some((_, Ended::Failed { .. })) => "failed",
    };
    let (restored, why) = match ended {
        Some((_, Ended::Done { lineage, index, moment })) => {
            (json!({ "history": lineage, "index": index, "moment": moment.to_string() }), None)
        }
        Some((_, Ended::Failed { why })) => (Value::Null, Some(why)),
        None => (Value::Null, None),
    };
    json!({
        "id": id,
        "organization": organization,
        "into": into,
        "target": target,
        "index": index,
        "timestamp": timestamp,
        "requested_at": at.to_string(),
        "state": state,
        "progress": far,
        "ended_at": ended.as_ref().map(|(at, _)| at.to_string()),
        "restored": restored,
        "failed": why,
    })
}
