//! Listing, creating, showing, changing, assigning and deleting records of each kind.

use serde_json::{Value, json};

use super::{Asker, asker, body, gone, id_in_path, read, view, writer};
use crate::{
    cluster::{Answer, View},
    features::workspace::{
        AssignCase, AssignInvestigation, Assignment, Change, CreateActivity, CreateCase, CreateInvestigation,
        DeleteActivity, DeleteCase, DeleteInvestigation, NewRecord, Removal, Saved, UpdateActivity,
        UpdateCase, UpdateInvestigation,
        model::{Record, RecordKind},
        queries,
    },
    kernel::{RecordId, UserId},
    web::{Cx, Fields, Method, Needs, Problem, Reply, Route},
};

/// What the routes of a kind are called.
struct Names {
    kind: RecordKind,
    many: &'static str,
    one: &'static str,
    /// Path and operation of assigning.
    assign: Option<(&'static str, &'static str)>,
    /// Operations: list, create, get, update, delete.
    operations: [&'static str; 5],
}

const NAMES: &[Names] = &[
    Names {
        kind: RecordKind::Investigation,
        many: "/organizations/{org}/investigations",
        one: "/organizations/{org}/investigations/{id}",
        assign: Some(("/organizations/{org}/investigations/{id}/assign", "assignInvestigation")),
        operations: [
            "listInvestigations",
            "createInvestigation",
            "getInvestigation",
            "updateInvestigation",
            "deleteInvestigation",
        ],
    },
    Names {
        kind: RecordKind::Case,
        many: "/organizations/{org}/cases",
        one: "/organizations/{org}/cases/{id}",
        assign: Some(("/organizations/{org}/cases/{id}/assign", "assignCase")),
        operations: ["listCases", "createCase", "getCase", "updateCase", "deleteCase"],
    },
    Names {
        kind: RecordKind::Activity,
        many: "/organizations/{org}/activities",
        one: "/organizations/{org}/activities/{id}",
        assign: None,
        operations: ["listActivities", "createActivity", "getActivity", "updateActivity", "deleteActivity"],
    },
];

pub(super) fn routes() -> Vec<Route> {
    NAMES.iter().flat_map(routes_of).collect()
}

fn routes_of(names: &Names) -> Vec<Route> {
    let (kind, caller) = (names.kind, Needs::Caller);
    let [list_name, create_name, get_name, update_name, delete_name] = names.operations;
    let lists = "List those that the caller may see, newest first; a page may be short though more follow";
    let mut routes = vec![
        Route::v2(Method::Get, names.many, list_name, lists, caller, move |cx| Box::pin(list(cx, kind)))
            .asks(move |query| body::read_list(kind, query)),
        Route::v2(Method::Post, names.many, create_name, "Create one", caller, move |cx| {
            Box::pin(create(cx, kind))
        })
        .takes(move |fields| body::read_new(kind, fields))
        .creates(),
        Route::v2(Method::Get, names.one, get_name, "Show one", caller, move |cx| Box::pin(show(cx, kind))),
        Route::v2(Method::Patch, names.one, update_name, "Change one's fields", caller, move |cx| {
            Box::pin(update(cx, kind))
        })
        .takes(move |fields| body::read_change(kind, fields)),
        Route::v2(Method::Delete, names.one, delete_name, "Delete one, with all that hangs on it", caller, {
            move |cx| Box::pin(delete(cx, kind))
        }),
    ];
    if let Some((path, operation)) = names.assign {
        let summary = "Say who works on it; nobody when the user is left out";
        let assign = move |cx| Box::pin(assign(cx, kind)) as _;
        routes.push(Route::v2(Method::Post, path, operation, summary, caller, assign).takes(read_assignee));
    }
    routes
}

async fn list(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let who = asker(&cx).await?;
    let mut query = cx.query();
    let (narrowed, window) = body::read_list(kind, &mut query);
    let bad = query.finish();
    let asked = who.clone();
    let page = read(&cx, &cx.view, &who, move |tx| {
        let rights = match asked.rights(tx, kind.read())? {
            Ok(rights) => rights,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if bad.is_err() {
            return Ok(Ok(Err(bad)));
        }
        Ok(Ok(Ok(queries::list(tx, kind, (&rights, &asked.how), &narrowed, &window)?)))
    });
    match page.await? {
        Ok(page) => Ok(Reply::page(page.map(|record| view::record(&record)))),
        Err(bad) => bad.map(|()| Reply::none()),
    }
}

async fn show(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let (who, id) = (asker(&cx).await?, id_in_path(&cx, "id")?);
    let found = find(&cx, &cx.view, &who, kind, id).await?;
    Ok(Reply::ok(view::record(&found)).etag(found.version))
}

async fn find(cx: &Cx, at: &View, who: &Asker, kind: RecordKind, id: RecordId) -> Result<Record, Problem> {
    let asked = who.clone();
    read(cx, at, who, move |tx| asked.find(tx, kind, id)).await
}

/// The record as it is after an entry; only what was written of it when the caller may not see it any more.
async fn read_back(
    cx: &Cx,
    who: &Asker,
    kind: RecordKind,
    answer: &Answer<Saved<RecordId>>,
) -> Result<(Value, i64), Problem> {
    let (id, version) = (answer.reply.id, answer.reply.version);
    let (asked, at) = (who.clone(), View::Session(Some(answer.index)));
    let seen = read(cx, &at, who, move |tx| Ok(Ok(asked.find(tx, kind, id)?.ok()))).await?;
    Ok(match seen {
        Some(record) => (view::record(&record), record.version),
        None => (json!({ "id": id, "version": version }), version),
    })
}

async fn create(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let who = writer(&cx, kind.create()).await?;
    let mut fields = cx.fields()?;
    let new = body::read_new(kind, &mut fields);
    fields.finish()?;
    let (content, assignee) = new.ok_or_else(Problem::not_found)?;
    let new = NewRecord { id: RecordId(cx.mint_id()), content, assignee };
    let (cluster, org) = (&cx.cluster, who.organization);
    let answer = match kind {
        RecordKind::Investigation => cluster.propose(&cx.ticket, org, &CreateInvestigation(new)).await,
        RecordKind::Case => cluster.propose(&cx.ticket, org, &CreateCase(new)).await,
        RecordKind::Activity => cluster.propose(&cx.ticket, org, &CreateActivity(new)).await,
    }?;
    let (shown, version) = read_back(&cx, &who, kind, &answer).await?;
    let location = format!("/api/v2/organizations/{org}/{}/{}", kind.plural(), answer.reply.id);
    Ok(Reply::created(location, shown).etag(version).after(&answer))
}

async fn update(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let who = writer(&cx, kind.update()).await?;
    let id = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let content = body::read_change(kind, &mut fields);
    let clears = body::read_clears(kind, &fields);
    fields.finish()?;
    find(&cx, &cx.view, &who, kind, id).await?;
    let change = Change { id, content, if_version: cx.if_match, clears };
    let (cluster, org) = (&cx.cluster, who.organization);
    let answer = match kind {
        RecordKind::Investigation => cluster.propose(&cx.ticket, org, &UpdateInvestigation(change)).await,
        RecordKind::Case => cluster.propose(&cx.ticket, org, &UpdateCase(change)).await,
        RecordKind::Activity => cluster.propose(&cx.ticket, org, &UpdateActivity(change)).await,
    }?;
    let (shown, version) = read_back(&cx, &who, kind, &answer).await?;
    Ok(Reply::ok(shown).etag(version).after(&answer))
}

fn read_assignee(fields: &mut Fields) -> Option<UserId> {
    fields.optional("user", body::user())
}

async fn assign(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let who = writer(&cx, kind.assign()).await?;
    let id = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let assignee = read_assignee(&mut fields);
    fields.finish()?;
    find(&cx, &cx.view, &who, kind, id).await?;
    let to = Assignment { id, assignee, if_version: cx.if_match };
    let (cluster, org) = (&cx.cluster, who.organization);
    let answer = match kind {
        RecordKind::Investigation => cluster.propose(&cx.ticket, org, &AssignInvestigation(to)).await,
        _ => cluster.propose(&cx.ticket, org, &AssignCase(to)).await,
    }?;
    let (shown, version) = read_back(&cx, &who, kind, &answer).await?;
    Ok(Reply::ok(shown).etag(version).after(&answer))
}

async fn delete(cx: Cx, kind: RecordKind) -> Result<Reply, Problem> {
    let who = writer(&cx, kind.delete()).await?;
    let removal = Removal { id: id_in_path(&cx, "id")?, if_version: cx.if_match };
    let (cluster, org) = (&cx.cluster, who.organization);
    let answer = match kind {
        RecordKind::Investigation => cluster.propose(&cx.ticket, org, &DeleteInvestigation(removal)).await,
        RecordKind::Case => cluster.propose(&cx.ticket, org, &DeleteCase(removal)).await,
        RecordKind::Activity => cluster.propose(&cx.ticket, org, &DeleteActivity(removal)).await,
    }?;
    gone(&cx, &answer).await
}
