//! Notes of one investigation, oldest first.

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter, types::Value};

use super::records::parsed;
use crate::{
    features::{
        access::{self, Circumstances, Columns, Compiled},
        workspace::model::{Note, NoteKind, judge_note},
    },
    kernel::{Fault, Field, Millis, NoteId, Page, Permission, RecordId, Window},
};

const COLUMNS: Columns<'_> = Columns {
    id: "n.id",
    owner: Some("n.author"),
    assignee: None,
    collaborators: None,
    fields: &[(Field::Type, "n.kind")],
};

/// A note.
pub(in crate::features::workspace) fn note(
    tx: &Connection,
    investigation: RecordId,
    id: NoteId,
) -> Result<Option<Note>, Fault> {
    let key = (investigation.to_string(), id.to_string());
    tx.prepare_cached(&one_statement())?.query_row(key, |row| Ok(read(row))).optional()?.transpose()
}

/// How many notes an investigation has.
pub(in crate::features::workspace) fn note_count(
    tx: &Connection,
    investigation: RecordId,
) -> Result<i64, Fault> {
    Ok(tx.prepare_cached(COUNT)?.query_row([investigation.to_string()], |row| row.get(0))?)
}

/// Whether another note answers this one.
pub(in crate::features::workspace) fn has_answers(
    tx: &Connection,
    investigation: RecordId,
    id: NoteId,
) -> Result<bool, Fault> {
    let key = (investigation.to_string(), id.to_string());
    Ok(tx.prepare_cached(ANSWERED)?.query_row(key, |row| row.get(0))?)
}

/// The notes of an investigation that `rights` let be read.
pub(in crate::features::workspace) fn list_notes(
    tx: &Connection,
    investigation: RecordId,
    (rights, how): (&Compiled, &Circumstances),
    kind: Option<NoteKind>,
    window: &Window,
) -> Result<Page<Note>, Fault> {
    let filter = access::filter(rights, Permission::NoteRead, &COLUMNS, how, 7);
    // A grant that names a note may open a private one; which, is judged row by row.
    let opens = rights
        .allowances()
        .iter()
        .any(|clause| clause.resource.is_some() && clause.permissions.holds(Permission::NoteRead));
    let optional = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let mut params = vec![
        Value::Text(investigation.to_string()),
        Value::Text(window.after.clone().unwrap_or_default()),
        optional(kind.map(|kind| kind.name().to_owned())),
        Value::Integer(i64::from(window.probe())),
        optional(rights.holder().user.map(|user| user.to_string())),
        Value::Integer(i64::from(opens)),
    ];
    params.extend(filter.params);
    let mut statement = tx.prepare_cached(&list_statement(&filter.sql))?;
    let rows = statement.query_map(params_from_iter(params), |row| Ok(read(row)))?;
    let notes = rows.map(|row| row?).collect::<Result<Vec<_>, Fault>>()?;
    let Page { mut rows, next } = Page::cut(notes, window, |note| note.id.to_string());
    rows.retain(|note| judge_note(rights, note, how));
    Ok(Page { rows, next })
}

fn one_statement() -> String {
    format!("{SELECT} WHERE n.investigation = ?1 AND n.id = ?2")
}

fn list_statement(filter: &str) -> String {
    format!(
        "{SELECT} WHERE n.investigation = ?1 AND n.id > ?2 AND (?3 IS NULL OR n.kind = ?3)
            AND (n.private = 0 OR n.author IS ?5 OR ?6) AND ({filter}) ORDER BY n.id LIMIT ?4"
    )
}

/// Every statement about notes, a list of them held to `filter`.
#[cfg(test)]
pub(in crate::features::workspace) fn statements(rights: &Compiled, how: &Circumstances) -> Vec<String> {
    let filter = access::filter(rights, Permission::NoteRead, &COLUMNS, how, 7);
    vec![list_statement(&filter.sql), one_statement(), COUNT.to_owned(), ANSWERED.to_owned()]
}

fn read(row: &Row<'_>) -> Result<Note, Fault> {
    let text = |column: usize| row.get::<_, String>(column);
    let parent: Option<String> = row.get(2)?;
    Ok(Note {
        investigation: parsed(&text(0)?)?,
        id: parsed(&text(1)?)?,
        parent: parent.as_deref().map(parsed).transpose()?,
        depth: row.get(3)?,
        author: parsed(&text(4)?)?,
        kind: parsed(&text(5)?)?,
        private: row.get(6)?,
        removed: row.get(7)?,
        created: Millis(row.get(8)?),
        updated: Millis(row.get(9)?),
        version: row.get(10)?,
        body: text(11)?,
    })
}

const SELECT: &str =
    "SELECT n.investigation, n.id, n.parent, n.depth, n.author, n.kind, n.private, n.removed, n.created_ms,
    n.updated_ms, n.version, n.body FROM workspace_notes n";
const COUNT: &str = "SELECT count(*) FROM workspace_notes WHERE investigation = ?1";
const ANSWERED: &str =
    "SELECT EXISTS (SELECT 1 FROM workspace_notes WHERE investigation = ?1 AND parent = ?2)";
