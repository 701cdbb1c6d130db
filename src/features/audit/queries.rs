//! Reading the trail.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::Value;

use super::model::{CHAIN_START, chain_after};
use crate::kernel::{Fault, Page, Window};

/// One event: the leaf, and the personal fields if they have not been erased.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) seq: i64,
    pub(super) leaf: Value,
    /// Head of the chain after it.
    pub(super) chain: [u8; 32],
    pub(super) personal: Option<Value>,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) from_ms: Option<i64>,
    pub(super) to_ms: Option<i64>,
    pub(super) user_id: Option<String>,
    pub(super) action: Option<String>,
    pub(super) resource_type: Option<String>,
    pub(super) resource_id: Option<String>,
    /// Text that the leaf contains.
    pub(super) text: Option<String>,
}

/// Events, newest first.
pub(super) fn list(tx: &Connection, filter: &Filter, window: &Window) -> Result<Page<Event>, Fault> {
    let before: i64 = window.after.as_deref().and_then(|seq| seq.parse().ok()).unwrap_or(i64::MAX);
    let mut statement = tx.prepare_cached(LIST)?;
    let rows = statement.query_map(
        named_params! {
            ":before": before,
            ":from": filter.from_ms,
            ":to": filter.to_ms,
            ":user": filter.user_id,
            ":action": filter.action,
            ":type": filter.resource_type,
            ":id": filter.resource_id,
            ":text": filter.text,
            ":limit": window.probe(),
        },
        read_row,
    )?;
    let events = rows.map(|row| parse(row?)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(events, window, |event| event.seq.to_string()))
}

/// One event by its id.
pub(super) fn find(tx: &Connection, id: &str) -> Result<Option<Event>, Fault> {
    tx.prepare_cached(FIND)?.query_row([id], read_row).optional()?.map(parse).transpose()
}

/// A trail: how many events it has, and the head of their chain, which no other events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// Events.
    pub events: i64,
    /// The chain after the last of them.
    pub head: [u8; 32],
}

/// The head of the chain after the event `seq`; `None` when there is none.
pub fn chain_at(tx: &Connection, seq: i64) -> Result<Option<[u8; 32]>, Fault> {
    Ok(tx.prepare_cached(CHAIN)?.query_row([seq], |row| row.get(0)).optional()?)
}

/// Recomputes the chain over the whole trail; answers what it is, or the first `seq` that does not fit.
pub fn verify_chain(tx: &Connection) -> Result<Result<Trail, i64>, Fault> {
    let mut statement = tx.prepare(WHOLE)?;
    let mut rows = statement.query([])?;
    let (mut length, mut chain) = (0, CHAIN_START);
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let leaf: Vec<u8> = row.get(1)?;
        chain = chain_after(&chain, &leaf);
        if seq != length + 1 || row.get::<_, Vec<u8>>(2)? != chain {
            return Ok(Err(seq));
        }
        length = seq;
    }
    Ok(Ok(Trail { events: length, head: chain }))
}

type Raw = (i64, Vec<u8>, [u8; 32], Option<Vec<u8>>);

fn read_row(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn parse((seq, leaf, chain, personal): Raw) -> Result<Event, Fault> {
    let broken = |error| Fault::new(format!("read audit event {seq}"), error);
    let leaf = serde_json::from_slice(&leaf).map_err(broken)?;
    let personal = personal.map(|fields| serde_json::from_slice(&fields)).transpose().map_err(broken)?;
    Ok(Event { seq, leaf, chain, personal })
}

const LIST: &str = "SELECT e.seq, e.leaf, e.chain, p.personal
    FROM audit_events e LEFT JOIN audit_personal p ON p.seq = e.seq
    WHERE e.seq < :before
      AND (:from IS NULL OR e.at_ms >= :from)
      AND (:to IS NULL OR e.at_ms < :to)
      AND (:user IS NULL OR e.actor_id = :user)
      AND (:action IS NULL OR e.action = :action)
      AND (:type IS NULL OR e.resource_type = :type)
      AND (:id IS NULL OR e.resource_id = :id)
      AND (:text IS NULL OR instr(lower(CAST(e.leaf AS TEXT)), lower(:text)) > 0)
    ORDER BY e.seq DESC LIMIT :limit";
const FIND: &str = "SELECT e.seq, e.leaf, e.chain, p.personal
    FROM audit_events e LEFT JOIN audit_personal p ON p.seq = e.seq WHERE e.id = ?1";
const CHAIN: &str = "SELECT chain FROM audit_events WHERE seq = ?1";
const WHOLE: &str = "SELECT seq, leaf, chain FROM audit_events ORDER BY seq";
