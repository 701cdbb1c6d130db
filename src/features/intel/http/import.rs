//! Importing a bundle, and seeing how far it has come.

use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::drive::Drive;
use crate::{
    cluster::{Answer, View},
    features::intel::{
        commands::BeginImport,
        model::{Bundle, BundleError, Import, ImportState, parse},
        queries,
    },
    kernel::{Fault, JobId, OrgId, Permission, Refusal, to_hex},
    web::{Cx, Problem, Reply},
};

/// `POST /organizations/{org}/intel/bundles`
pub(super) async fn create(mut cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorCreate).await?;
    cx.query().finish()?;
    cx.require_json()?;
    let (bundle, digest) = parse_aside(std::mem::take(&mut cx.body)).await?;
    let bundle = Arc::new(bundle);
    if let Some(done) = survey(&cx, org, &bundle, &digest).await? {
        return Ok(Reply::ok(view(&done)).header("location", location(&cx, done.id)));
    }
    let begun = begin(&cx, org, &bundle, digest).await?;
    let job = begun.reply.id;
    let drive = Drive { cluster: cx.cluster.clone(), ticket: cx.ticket.clone(), org, bundle };
    // A task of its own: the import goes on when the client hangs up.
    let task = tokio::spawn(drive.run(begun.clone()));
    let place = location(&cx, job);
    if cx.prefers_async() {
        let reply = Reply::ok(view(&begun.reply)).status(202).after(&begun);
        return Ok(reply.header("location", place).header("preference-applied", "respond-async"));
    }
    let ended = task.await.map_err(|error| Fault::new("import a bundle", error))??;
    Ok(Reply::created(place, view(&ended.reply)).after(&ended))
}

/// `GET /organizations/{org}/intel/imports`
pub(super) async fn list(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorRead).await?;
    let mut query = cx.query();
    let window = query.window();
    query.finish()?;
    let page = cx.cluster.read(&cx.view, org, move |tx| queries::imports(tx, &window)).await?;
    Ok(Reply::page(page.ok_or_else(Problem::not_found)?.map(|import| view(&import))))
}

/// `GET /organizations/{org}/intel/imports/{id}`
pub(super) async fn read(cx: Cx) -> Result<Reply, Problem> {
    let org = cx.place(Permission::IndicatorRead).await?;
    cx.query().finish()?;
    let id: JobId = cx.param("id").parse().map_err(|_| Problem::not_found())?;
    let found = cx.cluster.read(&cx.view, org, move |tx| queries::import(tx, id)).await?.flatten();
    Ok(Reply::ok(view(&found.ok_or_else(Problem::not_found)?)))
}

/// Parses on a thread that may be busy for a second; the body is dropped there.
async fn parse_aside(body: Bytes) -> Result<(Bundle, String), Problem> {
    let work = move || parse(&body).map(|bundle| (bundle, to_hex(digest(&SHA256, &body).as_ref())));
    let parsed =
        tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new("parse a bundle", error))?;
    parsed.map_err(|error| match error {
        BundleError::Malformed(detail) => Problem::malformed(detail),
        BundleError::Invalid(errors) => Problem::invalid(&errors),
    })
}

/// Refuses early what apply would refuse, before anything is written; answers an import that is done already.
async fn survey(cx: &Cx, org: OrgId, bundle: &Arc<Bundle>, digest: &str) -> Result<Option<Import>, Problem> {
    let (bundle, digest, now) = (Arc::clone(bundle), digest.to_owned(), cx.now);
    let look = move |tx: &rusqlite::Connection| -> Result<Result<Option<Import>, Refusal>, Fault> {
        match queries::import_of(tx, &digest)?.filter(|known| known.state == ImportState::Done) {
            Some(done) => Ok(Ok(Some(done))),
            None => Ok(queries::survey(tx, &bundle.objects, now)?.map(|()| None)),
        }
    };
    // Strong: a stale view would refuse what has room by now.
    let found = cx.cluster.read(&View::Strong, org, look).await?.ok_or_else(Problem::not_found)?;
    Ok(found?)
}

async fn begin(cx: &Cx, org: OrgId, bundle: &Bundle, digest: String) -> Result<Answer<Import>, Problem> {
    let command = BeginImport {
        id: JobId(cx.mint_id()),
        digest,
        bundle_id: bundle.id.clone(),
        total: i64::try_from(bundle.objects.len()).unwrap_or(i64::MAX),
    };
    let begun = cx.cluster.propose(&cx.ticket, org, &command).await?;
    if !begun.replayed {
        return Ok(begun);
    }
    // A remembered reply tells where the import stood then.
    let (view, id) = (View::Session(Some(begun.index)), begun.reply.id);
    let now = cx.cluster.read(&view, org, move |tx| queries::import(tx, id)).await?.flatten();
    Ok(Answer { reply: now.unwrap_or(begun.reply), ..begun })
}

fn location(cx: &Cx, job: JobId) -> String {
    format!("/api/v2/organizations/{}/intel/imports/{job}", cx.param("org"))
}

fn view(import: &Import) -> Value {
    json!({
        "id": import.id,
        "bundle_id": import.bundle_id,
        "state": import.state,
        "total": import.total,
        "seen": import.seen,
        "added": import.tally.added,
        "updated": import.tally.updated,
        "unchanged": import.tally.unchanged,
        "reason": import.reason,
        "created_at": import.created.to_string(),
        "updated_at": import.updated.to_string(),
    })
}
