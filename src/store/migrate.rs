//! Schemas as levels: what every file runs to come from one level to the next.
//!
//! Never at process start: the level of a file changes at one place in the log, on every node alike. Which
//! level is in force is the level of the system file ([`Store::level`](super::Store::level)).

use rusqlite::Connection;

use crate::kernel::{Fault, FileId};

/// What brings a file one level up.
struct Step {
    /// The first version that knows the level.
    since: &'static str,
    every: &'static str,
    system: &'static str,
    tenant: &'static str,
}

/// Whether this binary knows one level more than its release does: the other build of the test of rolling
/// upgrades (`./check` makes it). No release is built so.
pub const REHEARSAL: bool = option_env!("THREATFLOW_TEST_NEXT_LEVEL").is_some();

/// The version of this binary.
pub const VERSION: &str = if REHEARSAL { REHEARSED } else { env!("CARGO_PKG_VERSION") };
const REHEARSED: &str = concat!(env!("CARGO_PKG_VERSION"), "-next");

const STEPS: &[Step] = &[
    Step {
        since: "0.1.0",
        every: include_str!("../../migrations/every/0001_start.sql"),
        system: include_str!("../../migrations/system/0001_start.sql"),
        tenant: include_str!("../../migrations/tenant/0001_start.sql"),
    },
    // Always the last, and beyond what a release knows.
    Step {
        since: REHEARSED,
        every: "CREATE TABLE spine_rehearsal (at_ms INTEGER NOT NULL) STRICT;",
        system: "",
        tenant: "",
    },
];

/// The highest level this binary knows.
#[allow(clippy::cast_possible_truncation)]
pub const LEVEL: u32 = if REHEARSAL { STEPS.len() } else { STEPS.len() - 1 } as u32;

/// The first version that knows `level`, if this one does.
pub fn since(level: u32) -> Option<&'static str> {
    let known = (1..=LEVEL).contains(&level);
    known.then(|| STEPS.get(level as usize - 1)).flatten().map(|step| step.since)
}

/// This binary met a level that it does not know: the node halts.
pub fn unknown_level(level: u32, needs: Option<&str>) -> Fault {
    let needs = needs.map_or("a newer version".to_owned(), |version| format!("version {version} or newer"));
    Fault::found(format!(
        "level {level} is in force, and this binary (version {VERSION}) knows up to level {LEVEL}: upgrade this \
         node's binary to {needs}"
    ))
}

/// Brings `file` from level `from` to level `to`, inside the open transaction.
pub(super) fn raise(connection: &Connection, file: FileId, from: u32, to: u32) -> Result<(), Fault> {
    if to > LEVEL {
        return Err(unknown_level(to, None));
    }
    let first = usize::try_from(from).unwrap_or(usize::MAX);
    let last = usize::try_from(to).unwrap_or(usize::MAX);
    for step in STEPS.get(first..last).unwrap_or_default() {
        let own = if file.is_system() { step.system } else { step.tenant };
        for script in [step.every, own] {
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
