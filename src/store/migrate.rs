//! Schemas as levels: a file is migrated by the dispatcher when it meets an entry of a higher level.
//!
//! Never at process start: the level of a file changes at one place in the log, on every node alike.

use rusqlite::Connection;

use crate::kernel::{Fault, FileId};

/// The highest level this binary knows.
pub const LEVEL: u32 = 1;

/// For each level, what every file runs, then what the system file or an organization's file runs.
const STEPS: &[[&str; 3]] = &[[
    include_str!("../../migrations/every/0001_start.sql"),
    include_str!("../../migrations/system/0001_start.sql"),
    include_str!("../../migrations/tenant/0001_start.sql"),
]];

/// Brings `file` from level `from` to level `to`, inside the open transaction.
pub(super) fn raise(connection: &Connection, file: FileId, from: u32, to: u32) -> Result<(), Fault> {
    let first = usize::try_from(from).unwrap_or(usize::MAX);
    let last = usize::try_from(to).unwrap_or(usize::MAX);
    let unknown = || Fault::found(format!("file {file} meets level {to}; this binary knows up to {LEVEL}"));
    for [every, system, tenant] in STEPS.get(first..last).ok_or_else(unknown)? {
        let own = if file.is_system() { system } else { tenant };
        for script in [every, own] {
            connection
                .execute_batch(script)
                .map_err(|error| Fault::new(format!("migrate {file} to {to}"), error))?;
        }
    }
    Ok(())
}

/// The present shape of a system or an organization's file, for reading and for tests.
pub fn schema(file: FileId) -> Result<String, Fault> {
    let connection = Connection::open_in_memory()?;
    raise(&connection, file, 0, LEVEL)?;
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
    let parts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(parts.join(";\n\n") + ";\n")
}
