//! Writing, changing and deleting notes.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Saved, records::find, require_version};
use crate::{
    cluster::{Apply, Asks, Command, Kind},
    features::{
        access,
        workspace::{
            model::{DEPTH_MAX, NOTES_MAX, Note, NoteKind, RecordKind, judge_note},
            queries,
        },
    },
    kernel::{NoteId, Permission, RecordId, Refusal},
    store::Stop,
};

/// The note, if the actor may read it; and with it its investigation.
fn find_note(cx: &Apply<'_>, investigation: RecordId, id: NoteId) -> Result<Note, Stop> {
    find(cx, RecordKind::Investigation, investigation)?;
    let note = queries::note(cx.tx, investigation, id)?.ok_or(Refusal::NotFound)?;
    let rights = access::compiled(cx.tx, cx.organization, cx.actor)?;
    if !judge_note(&rights, &note, &access::circumstances_of(cx.origin, cx.at)) {
        return Err(Refusal::NotFound.into());
    }
    Ok(note)
}

/// Writes a note in an investigation.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateNote {
    /// In which.
    pub investigation: RecordId,
    /// The note's id, minted at the edge.
    pub id: NoteId,
    /// Which note it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<NoteId>,
    /// What it is meant as.
    pub kind: NoteKind,
    /// Whether it is its author's alone.
    pub private: bool,
    /// What it says.
    pub body: String,
}

impl Command for CreateNote {
    const KIND: Kind = Kind::new("workspace.create_note", 1);
    const NEEDS: Permission = Permission::NoteCreate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<NoteId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<NoteId>, Stop> {
        let author = cx.actor.user().ok_or(Refusal::NotFound)?;
        find(cx, RecordKind::Investigation, self.investigation)?;
        if queries::note(cx.tx, self.investigation, self.id)?.is_some() {
            return Err(Refusal::WrongState { state: "there already".to_owned() }.into());
        }

        let depth = 1 + self.parent.map_or(Ok(0), |parent| self.depth_of(cx, parent))?;
        let note = Note {
            investigation: self.investigation,
            id: self.id,
            parent: self.parent,
            depth,
            author,
            kind: self.kind,
            private: self.private,
            removed: false,
            body: self.body,
            created: cx.at,
            updated: cx.at,
            version: 1,
        };
        access::require_for(cx, Permission::NoteCreate, &note.attributes())?;
        require_room("answers to answers", depth - 1, DEPTH_MAX)?;
        require_room("notes", queries::note_count(cx.tx, note.investigation)?, NOTES_MAX)?;

        write(cx, &note)?;

        let (kind, private) = (note.kind, note.private);
        let after = json!({ "investigation": note.investigation, "kind": kind, "private": private });
        cx.note("note", note.id, json!({ "after": after }));
        Ok(Saved { id: note.id, version: note.version })
    }
}

impl CreateNote {
    fn depth_of(&self, cx: &Apply<'_>, parent: NoteId) -> Result<i64, Stop> {
        match find_note(cx, self.investigation, parent) {
            Ok(parent) if !parent.removed => Ok(parent.depth),
            Ok(_) | Err(Stop::Refused(_)) => {
                Err(Refusal::field("/parent", "is no note of this investigation that you can read").into())
            }
            Err(broken) => Err(broken),
        }
    }
}

/// Changes a note; what is absent stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpdateNote {
    /// In which investigation.
    pub investigation: RecordId,
    /// Which.
    pub id: NoteId,
    /// What it is meant as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NoteKind>,
    /// Whether it is its author's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for UpdateNote {
    const KIND: Kind = Kind::new("workspace.update_note", 1);
    const NEEDS: Permission = Permission::NoteUpdate;
    const ASKS: Asks = Asks::Again;
    type Reply = Saved<NoteId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<NoteId>, Stop> {
        let before = find_note(cx, self.investigation, self.id)?;
        require_version(self.if_version, before.version)?;
        require_there(&before)?;

        let after = Note {
            kind: self.kind.unwrap_or(before.kind),
            private: self.private.unwrap_or(before.private),
            body: self.body.unwrap_or_else(|| before.body.clone()),
            updated: cx.at,
            version: before.version + 1,
            ..before.clone()
        };
        access::require_for(cx, Permission::NoteUpdate, &before.attributes())?;
        access::require_for(cx, Permission::NoteUpdate, &after.attributes())?;
        // Whoever is not its author would lose it, or take it from the others.
        if after.private != before.private && cx.actor.user() != Some(before.author) {
            return Err(Refusal::field("/private", "is for the note's author to say").into());
        }

        write(cx, &after)?;

        let changed = json!({
            "investigation": after.investigation, "kind": [before.kind, after.kind],
            "private": [before.private, after.private], "body": before.body != after.body,
        });
        cx.note("note", after.id, changed);
        Ok(Saved { id: after.id, version: after.version })
    }
}

/// Deletes a note. One that others answer is emptied, and stays for their sake.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteNote {
    /// In which investigation.
    pub investigation: RecordId,
    /// Which.
    pub id: NoteId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeleteNote {
    const KIND: Kind = Kind::new("workspace.delete_note", 1);
    const NEEDS: Permission = Permission::NoteDelete;
    const ASKS: Asks = Asks::Again;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let before = find_note(cx, self.investigation, self.id)?;
        require_version(self.if_version, before.version)?;
        require_there(&before)?;

        access::require_for(cx, Permission::NoteDelete, &before.attributes())?;
        let answered = queries::has_answers(cx.tx, before.investigation, before.id)?;

        if answered {
            let (version, body) = (before.version + 1, String::new());
            write(cx, &Note { removed: true, body, updated: cx.at, version, ..before.clone() })?;
        } else {
            cx.tx
                .prepare_cached(DELETE)?
                .execute((before.investigation.to_string(), before.id.to_string()))?;
        }

        cx.note("note", before.id, json!({ "investigation": before.investigation, "emptied": answered }));
        Ok(())
    }
}

fn require_there(note: &Note) -> Result<(), Stop> {
    if note.removed {
        return Err(Refusal::WrongState { state: "deleted".to_owned() }.into());
    }
    Ok(())
}

fn require_room(what: &str, count: i64, max: i64) -> Result<(), Stop> {
    if count < max {
        return Ok(());
    }
    Err(Refusal::LimitReached { what: what.to_owned(), max }.into())
}

fn write(cx: &Apply<'_>, note: &Note) -> Result<(), Stop> {
    cx.tx.prepare_cached(UPSERT)?.execute(params![
        note.investigation.to_string(),
        note.id.to_string(),
        note.parent.map(|parent| parent.to_string()),
        note.depth,
        note.author.to_string(),
        note.kind.name(),
        note.private,
        note.removed,
        note.created.0,
        note.updated.0,
        note.version,
        note.body,
    ])?;
    Ok(())
}

const UPSERT: &str = "INSERT INTO workspace_notes (investigation, id, parent, depth, author, kind, private, removed,
    created_ms, updated_ms, version, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    ON CONFLICT (investigation, id) DO UPDATE SET kind = excluded.kind, private = excluded.private,
    removed = excluded.removed, updated_ms = excluded.updated_ms, version = excluded.version, body = excluded.body";
const DELETE: &str = "DELETE FROM workspace_notes WHERE investigation = ?1 AND id = ?2";
