//! Notes of an investigation.

use rusqlite::Connection;

use super::{
    Asker, asker,
    body::{NoteBody, read_note},
    gone, id_in_path, read, view, writer,
};
use crate::{
    cluster::View,
    features::workspace::{
        CreateNote, DeleteNote, UpdateNote,
        model::{Note, NoteKind, RecordKind, judge_note},
        queries,
    },
    kernel::{Fault, NoteId, Permission, RecordId, Refusal, Window},
    web::{Cx, Method, Needs, Problem, QueryFields, Reply, Route, value},
};

const ALL: &str = "/organizations/{org}/investigations/{id}/notes";
const ONE: &str = "/organizations/{org}/investigations/{id}/notes/{note}";

pub(super) fn routes() -> Vec<Route> {
    let caller = Needs::Caller;
    vec![
        Route::v2(Method::Get, ALL, "listNotes", "List notes, oldest first", caller, |cx| Box::pin(list(cx)))
            .asks(read_list),
        Route::v2(Method::Post, ALL, "createNote", "Write a note", caller, |cx| Box::pin(create(cx)))
            .takes(|fields| read_note(fields, true))
            .creates(),
        Route::v2(Method::Get, ONE, "getNote", "Show a note", caller, |cx| Box::pin(show(cx))),
        Route::v2(Method::Patch, ONE, "updateNote", "Change a note", caller, |cx| Box::pin(update(cx)))
            .takes(|fields| read_note(fields, false)),
        Route::v2(
            Method::Delete,
            ONE,
            "deleteNote",
            "Delete a note; one that others answer stays, empty",
            caller,
            |cx| Box::pin(delete(cx)),
        ),
    ]
}

fn read_list(query: &mut QueryFields) -> (Option<NoteKind>, Window) {
    (query.parsed("kind", value::word::<NoteKind>(NoteKind::NAMES)), query.window())
}

async fn list(cx: Cx) -> Result<Reply, Problem> {
    let (who, investigation) = (asker(&cx).await?, id_in_path(&cx, "id")?);
    let mut query = cx.query();
    let (kind, window) = read_list(&mut query);
    let bad = query.finish();
    let asked = who.clone();
    let page = read(&cx, &cx.view, &who, move |tx| {
        let rights = match asked.rights(tx, Permission::NoteRead)? {
            Ok(rights) => rights,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if bad.is_err() {
            return Ok(Ok(Err(bad)));
        }
        if let Err(refusal) = asked.find(tx, RecordKind::Investigation, investigation)? {
            return Ok(Err(refusal));
        }
        Ok(Ok(Ok(queries::list_notes(tx, investigation, (&rights, &asked.how), kind, &window)?)))
    });
    match page.await? {
        Ok(page) => Ok(Reply::page(page.map(|note| view::note(&note)))),
        Err(bad) => bad.map(|()| Reply::none()),
    }
}

/// A note that the asker may read, in an investigation that it may see.
fn find(
    who: &Asker,
    tx: &Connection,
    investigation: RecordId,
    id: NoteId,
) -> Result<Result<Note, Refusal>, Fault> {
    let rights = match who.rights(tx, Permission::NoteRead)? {
        Ok(rights) => rights,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = who.find(tx, RecordKind::Investigation, investigation)? {
        return Ok(Err(refusal));
    }
    let note = queries::note(tx, investigation, id)?;
    Ok(note.filter(|note| judge_note(&rights, note, &who.how)).ok_or(Refusal::NotFound))
}

async fn found(cx: &Cx, at: &View, who: &Asker, id: NoteId) -> Result<Reply, Problem> {
    let (asked, investigation) = (who.clone(), id_in_path(cx, "id")?);
    let note = read(cx, at, who, move |tx| find(&asked, tx, investigation, id)).await?;
    Ok(Reply::ok(view::note(&note)).etag(note.version))
}

async fn show(cx: Cx) -> Result<Reply, Problem> {
    let (who, id) = (asker(&cx).await?, id_in_path(&cx, "note")?);
    found(&cx, &cx.view, &who, id).await
}

async fn create(cx: Cx) -> Result<Reply, Problem> {
    let who = writer(&cx, Permission::NoteCreate).await?;
    let investigation: RecordId = id_in_path(&cx, "id")?;
    let mut fields = cx.fields()?;
    let NoteBody { parent, kind, private, body } = read_note(&mut fields, true);
    fields.finish()?;
    let create = CreateNote {
        investigation,
        id: NoteId(cx.mint_id()),
        parent,
        kind: kind.unwrap_or(NoteKind::Comment),
        private: private.unwrap_or(false),
        body: body.ok_or_else(Problem::not_found)?,
    };
    let answer = cx.cluster.propose(&cx.ticket, who.organization, &create).await?;
    let id = answer.reply.id;
    let reply = found(&cx, &View::Session(Some(answer.index)), &who, id).await?;
    let location =
        format!("/api/v2/organizations/{}/investigations/{investigation}/notes/{id}", who.organization);
    Ok(reply.status(201).header("location", location).after(&answer))
}

async fn update(cx: Cx) -> Result<Reply, Problem> {
    let who = writer(&cx, Permission::NoteUpdate).await?;
    let (investigation, id) = (id_in_path(&cx, "id")?, id_in_path(&cx, "note")?);
    let mut fields = cx.fields()?;
    let NoteBody { kind, private, body, .. } = read_note(&mut fields, false);
    fields.finish()?;
    let update = UpdateNote { investigation, id, kind, private, body, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, who.organization, &update).await?;
    Ok(found(&cx, &View::Session(Some(answer.index)), &who, id).await?.after(&answer))
}

async fn delete(cx: Cx) -> Result<Reply, Problem> {
    let who = writer(&cx, Permission::NoteDelete).await?;
    let (investigation, id) = (id_in_path(&cx, "id")?, id_in_path(&cx, "note")?);
    let delete = DeleteNote { investigation, id, if_version: cx.if_match };
    let answer = cx.cluster.propose(&cx.ticket, who.organization, &delete).await?;
    gone(&cx, &answer).await
}
