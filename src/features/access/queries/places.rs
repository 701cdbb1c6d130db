//! Finding organizations. Asked of the system file.

use rusqlite::{Connection, OptionalExtension};

use crate::kernel::{Fault, OrgId};

/// The organization that an id or a slug stands for; `system` is one too.
pub fn organization_named(tx: &Connection, name: &str) -> Result<Option<OrgId>, Fault> {
    if name == "system" || name == OrgId::SYSTEM.to_string() {
        return Ok(Some(OrgId::SYSTEM));
    }
    find(tx, NAMED, &name.to_lowercase())
}

fn find(tx: &Connection, sql: &str, key: &str) -> Result<Option<OrgId>, Fault> {
    let id: Option<String> = tx.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| id.parse().ok()))
}

const NAMED: &str = "SELECT id FROM organizations_registry WHERE id = ?1 OR slug = ?1 ORDER BY id LIMIT 1";
