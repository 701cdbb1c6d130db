//! Lists that stay fast whatever the rules are: rows are walked in the order of the list along one index (or a few, merged),
//! each is judged in SQL by the filter of the rules and what the caller narrows the list to, and a page ends when it is full or
//! when enough rows were looked at. So a page may be short, or empty, though more follows.

use std::collections::BTreeSet;

use rusqlite::{Connection, params_from_iter, types::Value};

use super::records::record;
use crate::{
    features::{
        access::{self, Circumstances, Compiled, Filter, Seek},
        workspace::model::{Record, RecordKind},
    },
    kernel::{Fault, Field, Page, RecordId, UserId, Window},
};

/// Rows that one page looks at, at most. Of a million each costs 5.5 µs when it is found through an index (measured): the page
/// that it lies on is fetched and decrypted for it alone.
const EXAMINED_MAX: usize = 1_000;
/// Behind every id.
const BEHIND_ALL: &str = "~";
/// Parameters of each walk: kind, id to begin below, what is sought, rows at most.
const FIXED: usize = 4;

/// What a caller narrows a list to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::features::workspace) struct Narrowed {
    /// Fields with these values.
    pub(in crate::features::workspace) fields: Vec<(Field, String)>,
    /// Of this owner.
    pub(in crate::features::workspace) owner: Option<UserId>,
    /// Assigned to this user.
    pub(in crate::features::workspace) assignee: Option<UserId>,
    /// With all these words and tags.
    pub(in crate::features::workspace) terms: Vec<String>,
}

/// One way through the rows, in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::workspace) enum Way {
    /// Along an index of a column, or along all rows.
    Seek(Seek),
    /// Along the rows that a word or a tag is found in.
    Term(String),
}

/// What one walk found.
struct Walk {
    ids: Vec<String>,
    /// Rows below this id were not looked at; `None` when there are none.
    reached: Option<String>,
}

/// The records of a kind that `rights` let be seen, newest first.
pub(in crate::features::workspace) fn list(
    tx: &Connection,
    kind: RecordKind,
    asker: (&Compiled, &Circumstances),
    narrowed: &Narrowed,
    window: &Window,
) -> Result<Page<Record>, Fault> {
    list_looking_at(tx, kind, asker, narrowed, window, EXAMINED_MAX)
}

/// The same, looking at so many rows at most.
pub(in crate::features::workspace) fn list_looking_at(
    tx: &Connection,
    kind: RecordKind,
    (rights, how): (&Compiled, &Circumstances),
    narrowed: &Narrowed,
    window: &Window,
    examined_max: usize,
) -> Result<Page<Record>, Fault> {
    let (ways, params) = ways(kind, (rights, how), narrowed);
    let share = (examined_max / ways.len().max(1)).max(1);
    let mut walks = Vec::new();
    for (way, statement) in &ways {
        walks.push(walk(tx, kind, way, statement, &params, window, share)?);
    }
    let page = merged(walks, window);

    let mut rows = Vec::with_capacity(page.rows.len());
    for id in page.rows {
        let id: RecordId = super::records::parsed(&id)?;
        let found = record(tx, kind, id)?;
        rows.extend(found.filter(|record| rights.require(kind.read(), &record.attributes(), how).is_ok()));
    }
    Ok(Page { rows, next: page.next })
}

/// The walks of a list, each with its statement, and what is bound to all of them behind their own parameters.
pub(in crate::features::workspace) fn ways(
    kind: RecordKind,
    (rights, how): (&Compiled, &Circumstances),
    narrowed: &Narrowed,
) -> (Vec<(Way, String)>, Vec<Value>) {
    let (mut judgement, mut params) = narrowing(kind, narrowed);
    let first = FIXED + params.len() + 1;
    let filter = access::filter(rights, kind.read(), &kind.columns(), how, first);
    judgement.extend(["(", &filter.sql, ")"]);
    params.extend(filter.params.iter().cloned());
    let ways = chosen(&filter, narrowed).into_iter().map(|way| {
        let statement = statement(kind, &way, &judgement);
        (way, statement)
    });
    (ways.collect(), params)
}

/// What the caller narrows the list to, as SQL, with ` AND ` behind it.
fn narrowing(kind: RecordKind, narrowed: &Narrowed) -> (String, Vec<Value>) {
    let (mut sql, mut params) = (String::new(), Vec::new());
    let mut add = |before: &str, value: String, behind: &str| {
        params.push(Value::Text(value));
        sql.extend([before, "?", &(FIXED + params.len()).to_string(), behind, " AND "]);
    };
    for (field, value) in &narrowed.fields {
        add(&format!("{} IS ", column(kind, *field)), value.clone(), "");
    }
    if let Some(owner) = narrowed.owner {
        add("t.owner IS ", owner.to_string(), "");
    }
    if let Some(assignee) = narrowed.assignee {
        add("t.assignee IS ", assignee.to_string(), "");
    }
    for term in &narrowed.terms {
        add(
            "EXISTS (SELECT 1 FROM workspace_terms w WHERE w.kind = ?1 AND w.term = ",
            term.clone(),
            " AND w.id = t.id)",
        );
    }
    (sql, params)
}

fn column(kind: RecordKind, field: Field) -> &'static str {
    kind.columns().fields.iter().find(|(known, _)| *known == field).map_or("NULL", |(_, column)| column)
}

/// Either what the rules leave, or one thing that the caller narrows the list to: whatever is thought to find the fewest rows.
fn chosen(filter: &Filter, narrowed: &Narrowed) -> Vec<Way> {
    let of_user = narrowed.owner.map(|user| Seek::Owner(user.to_string()));
    let of_user = of_user.or(narrowed.assignee.map(|user| Seek::Assignee(user.to_string())));
    let of_field = narrowed.fields.first().map(|(field, value)| Seek::Field(*field, value.clone()));
    // The longest word is likely to be the rarest.
    let term = narrowed.terms.iter().max_by_key(|term| term.len()).cloned().map(Way::Term);
    let narrow = of_user.map(Way::Seek).or(term).or(of_field.map(Way::Seek));
    let of_rules = filter.seeks.iter().map(Seek::rank).max().unwrap_or(0);
    match narrow {
        Some(way) if way.rank() <= of_rules => vec![way],
        _ => filter.seeks.iter().cloned().map(Way::Seek).collect(),
    }
}

impl Way {
    fn rank(&self) -> u32 {
        match self {
            Self::Seek(seek) => seek.rank(),
            Self::Term(_) => 2,
        }
    }

    fn value(&self) -> &str {
        match self {
            Self::Term(value)
            | Self::Seek(
                Seek::Id(value)
                | Seek::Owner(value)
                | Seek::Assignee(value)
                | Seek::LetIn(value)
                | Seek::Field(_, value),
            ) => value,
            Self::Seek(Seek::All) => "",
        }
    }
}

/// A walk's statement: the judgement is a column and not a condition, so that no other index is taken for it, and so that rows
/// which do not pass are counted, too.
pub(in crate::features::workspace) fn statement(kind: RecordKind, way: &Way, judgement: &str) -> String {
    let of_rows = |sought: &str| ("workspace_records t".to_owned(), format!("t.kind = ?1{sought}"), "t.id");
    // Without a word about the index, SQLite walks all rows of the kind in the order of ids and passes over those that are not
    // sought: a walk without a bound.
    let along = |index: &str, column: &str| {
        let from = format!("workspace_records t INDEXED BY workspace_records_by_{index}");
        (from, format!("t.kind = ?1 AND {column} = ?3"), "t.id")
    };
    let through = |table: &str, on: &str, sought: &str, id| {
        let from = format!("{table} s CROSS JOIN workspace_records t ON t.kind = ?1 AND t.id = s.{on}");
        (from, sought.to_owned(), id)
    };
    let (from, sought, id) = match way {
        Way::Seek(Seek::All) => of_rows(""),
        Way::Seek(Seek::Id(_)) => of_rows(" AND t.id = ?3"),
        Way::Seek(Seek::Owner(_)) => along("owner", "t.owner"),
        Way::Seek(Seek::Assignee(_)) => along("assignee", "t.assignee"),
        Way::Seek(Seek::Field(field, _)) => along(field.name(), column(kind, *field)),
        Way::Seek(Seek::LetIn(_)) => {
            through("workspace_collaborators", "investigation", "s.user_id = ?3", "s.investigation")
        }
        Way::Term(_) => through("workspace_terms", "id", "s.kind = ?1 AND s.term = ?3", "s.id"),
    };
    format!("SELECT {id}, {judgement} FROM {from} WHERE {sought} AND {id} < ?2 ORDER BY {id} DESC LIMIT ?4")
}

fn walk(
    tx: &Connection,
    kind: RecordKind,
    way: &Way,
    statement: &str,
    params: &[Value],
    window: &Window,
    share: usize,
) -> Result<Walk, Fault> {
    let after = window.after.as_deref().unwrap_or(BEHIND_ALL);
    let text = |text: &str| Value::Text(text.to_owned());
    let limit = i64::try_from(share).unwrap_or(i64::MAX);
    let fixed = [text(kind.name()), text(after), text(way.value()), Value::Integer(limit)];
    let mut statement = tx.prepare_cached(statement)?;
    let mut rows = statement.query(params_from_iter(fixed.iter().chain(params)))?;
    let wanted = usize::try_from(window.probe()).unwrap_or(usize::MAX);
    let (mut ids, mut examined) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        examined += 1;
        let is_full = row.get::<_, Option<bool>>(1)? == Some(true) && {
            ids.push(id.clone());
            ids.len() >= wanted
        };
        if is_full || examined >= share {
            return Ok(Walk { ids, reached: Some(id) });
        }
    }
    Ok(Walk { ids, reached: None })
}

/// One page of what several walks found, down to where the first of them stopped.
fn merged(walks: Vec<Walk>, window: &Window) -> Page<String> {
    let reached = walks.iter().filter_map(|walk| walk.reached.clone()).max();
    let ids: BTreeSet<String> = walks.into_iter().flat_map(|walk| walk.ids).collect();
    let seen = ids.into_iter().rev().take_while(|id| reached.as_ref().is_none_or(|reached| id >= reached));
    let mut page = Page::cut(seen.collect(), window, String::clone);
    page.next = page.next.or(reached);
    page
}
