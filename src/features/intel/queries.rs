//! Reading objects and imports.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, types::Value as Sql};

use super::model::{Import, ImportState, Object, Tally, counts_to, same_content};
use crate::{
    features::quotas::{self, Resource},
    kernel::{Fault, JobId, Millis, Page, Refusal, Window},
};

/// What the file knows about one version of an object.
pub(super) enum Known {
    /// It is there.
    Same,
    /// It is there with other content.
    Other,
    /// It is not there; the latest version of its id, if there is one.
    Absent(Option<Latest>),
}

/// The latest version of an id.
pub(super) struct Latest {
    pub(super) seq: i64,
    pub(super) modified_ms: Option<i64>,
    pub(super) version: String,
}

/// What the file knows about `object`.
pub(super) fn known(tx: &Connection, object: &Object) -> Result<Known, Fault> {
    let body: Option<String> =
        tx.prepare_cached(BODY)?.query_row((&object.id, &object.version), |row| row.get(0)).optional()?;
    Ok(match body {
        Some(body) if same_content(&body, object.body.get()) => Known::Same,
        Some(_) => Known::Other,
        None => Known::Absent(latest(tx, &object.id)?),
    })
}

fn latest(tx: &Connection, id: &str) -> Result<Option<Latest>, Fault> {
    let read =
        |row: &Row<'_>| Ok(Latest { seq: row.get(0)?, modified_ms: row.get(1)?, version: row.get(2)? });
    Ok(tx.prepare_cached(LATEST)?.query_row([id], read).optional()?)
}

/// Whether all of `objects` could be stored now: the early refusal of the edge.
pub(super) fn survey(tx: &Connection, objects: &[Object], at: Millis) -> Result<Result<(), Refusal>, Fault> {
    let mut needs: BTreeMap<Resource, i64> = BTreeMap::new();
    let mut fresh = BTreeSet::new();
    for object in objects {
        match known(tx, object)? {
            Known::Same => continue,
            Known::Other => return Ok(Err(conflict(object))),
            Known::Absent(latest) => {
                if let Some(resource) = counts_to(&object.kind)
                    && latest.is_none()
                    && fresh.insert(object.id.as_str())
                {
                    *needs.entry(resource).or_default() += 1;
                }
            }
        }
        *needs.entry(Resource::MaxStorageGb).or_default() +=
            i64::try_from(object.bytes()).unwrap_or(i64::MAX);
    }
    for (resource, amount) in needs {
        if let Err(refusal) = quotas::allowance(tx, resource, at)?.require(amount) {
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(()))
}

/// The refusal for a version that is there with other content.
pub(super) fn conflict(object: &Object) -> Refusal {
    Refusal::ObjectConflict { id: object.id.clone(), version: object.version.clone() }
}

/// What a list of objects is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) kind: Option<String>,
    pub(super) id: Option<String>,
    pub(super) external_id: Option<String>,
    /// Case counts: it is a range of the index by name.
    pub(super) name_prefix: Option<String>,
    pub(super) modified_after: Option<Millis>,
    pub(super) modified_before: Option<Millis>,
}

/// The index that a list follows, and with it the list's order: the most selective that the filter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Id,
    External,
    Name,
    Modified,
    Kind,
    Whole,
}

impl Filter {
    pub(super) fn path(&self) -> Path {
        match self {
            Self { id: Some(_), .. } => Path::Id,
            Self { external_id: Some(_), .. } => Path::External,
            Self { name_prefix: Some(_), .. } => Path::Name,
            Self { modified_after: Some(_), .. } | Self { modified_before: Some(_), .. } => Path::Modified,
            Self { kind: Some(_), .. } => Path::Kind,
            _ => Path::Whole,
        }
    }

    /// Where a list begins: behind the last row seen, or before the first. `None` when the cursor is of another list.
    fn start(&self, after: Option<&str>) -> Option<(Sql, i64)> {
        let path = self.path();
        let Some(after) = after else {
            return Some(match path {
                Path::Name => (Sql::Text(self.name_prefix.clone()?), i64::MIN),
                // Strictly after the moment: behind every row that bears it.
                Path::Modified => {
                    (Sql::Integer(self.modified_after.map_or(i64::MIN, |moment| moment.0)), i64::MAX)
                }
                _ => (Sql::Null, i64::MIN),
            });
        };
        let (seq, place) = after.split_once(':')?;
        let place = match path {
            Path::Name => Sql::Text(place.to_owned()),
            Path::Modified => Sql::Integer(place.parse().ok()?),
            _ if place.is_empty() => Sql::Null,
            _ => return None,
        };
        Some((place, seq.parse().ok()?))
    }

    /// Text behind every text with the prefix. A BLOB is behind every text.
    fn name_end(&self) -> Sql {
        let Some(prefix) = &self.name_prefix else { return Sql::Null };
        let mut letters: Vec<char> = prefix.chars().collect();
        while let Some(last) = letters.pop() {
            if let Some(next) = ((last as u32 + 1)..=(char::MAX as u32)).find_map(char::from_u32) {
                letters.push(next);
                return Sql::Text(letters.into_iter().collect());
            }
        }
        Sql::Blob(Vec::new())
    }
}

/// One row of a list.
#[derive(Debug)]
pub(super) struct Listed {
    place: String,
    pub(super) body: String,
}

/// A page ends early when its bodies are this long together: 200 objects of 1 MiB would not fit in memory often.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The latest versions that fit the filter; `None` when the cursor is of another list.
pub(super) fn list(tx: &Connection, filter: &Filter, window: &Window) -> Result<Option<Page<Listed>>, Fault> {
    let path = filter.path();
    let Some((place, seq)) = filter.start(window.after.as_deref()) else { return Ok(None) };
    let mut statement = tx.prepare_cached(&list_sql(path))?;
    let mut rows = statement.query(rusqlite::params![
        filter.kind,
        filter.id,
        filter.external_id,
        filter.name_prefix,
        filter.name_end(),
        filter.modified_after.map(|moment| moment.0),
        filter.modified_before.map(|moment| moment.0),
        place,
        seq,
        window.probe(),
    ])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
    let mut more = false;
    while let Some(row) = rows.next()? {
        if page.len() >= limit || bytes >= PAGE_BYTES_MAX {
            more = true;
            break;
        }
        let listed = read_listed(row, path)?;
        bytes += listed.body.len();
        page.push(listed);
    }
    let next = if more { page.last().map(|row| row.place.clone()) } else { None };
    Ok(Some(Page { rows: page, next }))
}

fn read_listed(row: &Row<'_>, path: Path) -> rusqlite::Result<Listed> {
    let seq: i64 = row.get(0)?;
    let place = match path {
        Path::Name => format!("{seq}:{}", row.get::<_, String>(1)?),
        Path::Modified => format!("{seq}:{}", row.get::<_, i64>(2)?),
        _ => format!("{seq}:"),
    };
    Ok(Listed { place, body: row.get(3)? })
}

fn list_sql(path: Path) -> String {
    let (index, order) = match path {
        Path::Id => ("id = ?2 AND seq > ?9", "seq"),
        Path::External => ("external_id = ?3 AND seq > ?9", "seq"),
        Path::Name => ("(name, seq) > (?8, ?9) AND name < ?5", "name, seq"),
        Path::Modified => ("(modified_ms, seq) > (?8, ?9)", "modified_ms, seq"),
        Path::Kind => ("type = ?1 AND seq > ?9", "seq"),
        Path::Whole => ("seq > ?9", "seq"),
    };
    format!("{LIST} AND {index} ORDER BY {order} LIMIT ?10")
}

/// One version of an object, or its latest.
pub(super) fn find(tx: &Connection, id: &str, version: Option<&str>) -> Result<Option<String>, Fault> {
    let body = match version {
        Some(version) => tx.prepare_cached(BODY)?.query_row([id, version], |row| row.get(0)).optional()?,
        None => tx.prepare_cached(LATEST_BODY)?.query_row([id], |row| row.get(0)).optional()?,
    };
    Ok(body)
}

/// The last row that is there now: where an export that begins now ends.
pub(super) fn last_seq(tx: &Connection) -> Result<i64, Fault> {
    Ok(tx.prepare_cached(LAST)?.query_row([], |row| row.get(0))?)
}

/// Part of an export.
pub(super) struct Part {
    /// Every version, in the order they came.
    pub(super) bodies: Vec<String>,
    /// Where the next part begins; `None` at the end.
    pub(super) next: Option<i64>,
}

/// The part of an export behind `after`, up to `last`: about a mebibyte.
pub(super) fn export(tx: &Connection, kind: Option<&str>, after: i64, last: i64) -> Result<Part, Fault> {
    const PART_BYTES: usize = 1 << 20;
    let mut statement = tx.prepare_cached(EXPORT)?;
    let mut rows = statement.query((after, last, kind))?;
    let (mut bodies, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        bytes += body.len();
        bodies.push(body);
        if bytes >= PART_BYTES {
            return Ok(Part { bodies, next: Some(row.get(0)?) });
        }
    }
    Ok(Part { bodies, next: None })
}

/// One import.
pub(super) fn import(tx: &Connection, id: JobId) -> Result<Option<Import>, Fault> {
    let mut statement = tx.prepare_cached(IMPORT)?;
    statement.query_row([id.to_string()], |row| Ok(read_import(row))).optional()?.transpose()
}

/// The import of a body with that digest.
pub(super) fn import_of(tx: &Connection, digest: &str) -> Result<Option<Import>, Fault> {
    let mut statement = tx.prepare_cached(IMPORT_OF)?;
    statement.query_row([digest], |row| Ok(read_import(row))).optional()?.transpose()
}

/// Imports, newest first: their ids begin with the time.
pub(super) fn imports(tx: &Connection, window: &Window) -> Result<Page<Import>, Fault> {
    let mut statement = tx.prepare_cached(IMPORTS)?;
    let rows = statement.query_map((window.after.as_deref(), window.probe()), |row| Ok(read_import(row)))?;
    let imports = rows.map(|row| row?).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(imports, window, |import| import.id.to_string()))
}

fn read_import(row: &Row<'_>) -> Result<Import, Fault> {
    let (id, state): (String, String) = (row.get(0)?, row.get(2)?);
    let broken = |what: &str| Fault::found(format!("import {id}: {what} cannot be read"));
    let reason: Option<String> = row.get(8)?;
    Ok(Import {
        id: id.parse().map_err(|_| broken("its id"))?,
        bundle_id: row.get(1)?,
        state: ImportState::parse(&state).ok_or_else(|| broken("its state"))?,
        total: row.get(3)?,
        seen: row.get(4)?,
        tally: Tally { added: row.get(5)?, updated: row.get(6)?, unchanged: row.get(7)? },
        reason: reason
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| broken("its reason"))?,
        created: Millis(row.get(9)?),
        updated: Millis(row.get(10)?),
    })
}

const BODY: &str = "SELECT body FROM intel_objects WHERE id = ?1 AND version = ?2";
const LATEST: &str = "SELECT seq, modified_ms, version FROM intel_objects WHERE id = ?1 AND is_latest";
const LATEST_BODY: &str = "SELECT body FROM intel_objects WHERE id = ?1 AND is_latest";
/// Every filter but the one that chose the index costs a look at the row; that one is looked at twice, which is cheap.
const LIST: &str = "SELECT seq, name, modified_ms, body FROM intel_objects WHERE is_latest
    AND (?1 IS NULL OR type = ?1)
    AND (?2 IS NULL OR id = ?2)
    AND (?3 IS NULL OR external_id = ?3)
    AND (?4 IS NULL OR (name >= ?4 AND name < ?5))
    AND (?6 IS NULL OR modified_ms > ?6)
    AND (?7 IS NULL OR modified_ms < ?7)";
const LAST: &str = "SELECT coalesce(max(seq), 0) FROM intel_objects";
const EXPORT: &str = "SELECT seq, body FROM intel_objects
    WHERE seq > ?1 AND seq <= ?2 AND (?3 IS NULL OR type = ?3) ORDER BY seq";
const IMPORT: &str =
    "SELECT id, bundle_id, state, total, seen, added, updated, unchanged, reason, created_ms, updated_ms
    FROM intel_imports WHERE id = ?1";
const IMPORT_OF: &str =
    "SELECT id, bundle_id, state, total, seen, added, updated, unchanged, reason, created_ms,
    updated_ms FROM intel_imports WHERE digest = ?1";
/// Without a cursor, before the empty BLOB, which is behind every text.
const IMPORTS: &str =
    "SELECT id, bundle_id, state, total, seen, added, updated, unchanged, reason, created_ms,
    updated_ms FROM intel_imports WHERE id < coalesce(?1, x'') ORDER BY id DESC LIMIT ?2";

/// How SQLite would run a list.
#[cfg(test)]
pub(super) fn plan_of(tx: &Connection, path: Path) -> Result<String, Fault> {
    let mut statement = tx.prepare(&format!("EXPLAIN QUERY PLAN {}", list_sql(path)))?;
    let nothing = rusqlite::params![
        Sql::Null,
        Sql::Null,
        Sql::Null,
        Sql::Null,
        Sql::Null,
        Sql::Null,
        Sql::Null,
        0,
        0,
        1
    ];
    let lines =
        statement.query_map(nothing, |row| row.get::<_, String>(3))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("; "))
}
