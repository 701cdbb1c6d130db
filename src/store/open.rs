//! Opens one file the way it must be opened.

use std::path::Path;

use rusqlite::{Connection, config::DbConfig};
use sqlite::Access;

use super::{banned, quarantine::Lost};
use crate::kernel::Fault;

/// Opens `path` for apply: creates it if absent, bans what differs between nodes.
pub(super) fn for_apply(path: &Path, key: &[u8; 32]) -> Result<Connection, Fault> {
    open(path, key, Access::Write, |connection| {
        // 16 KiB pages were tried and lost: audit rows are small and every commit writes whole pages.
        connection.pragma_update(None, "journal_mode", "wal")?;
        tune(connection)?;
        // Closing one must be cheap: the log stays, and the next checkpoint empties it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        banned::ban(connection)
    })
}

/// Opens `path` for the checkpointer, which writes but runs no statement of a command.
pub(super) fn for_checkpoint(path: &Path, key: &[u8; 32]) -> Result<Connection, Fault> {
    open(path, key, Access::Write, tune)
}

/// Opens an existing file for queries.
pub(super) fn for_read(path: &Path, key: &[u8; 32]) -> Result<Connection, Fault> {
    if !path.try_exists().map_err(|error| Fault::new(format!("look for {}", path.display()), error))? {
        return Err(Fault::new(format!("open {}", path.display()), Lost));
    }
    open(path, key, Access::Read, |connection| {
        tune(connection)?;
        connection.pragma_update(None, "query_only", true)
    })
}

/// Opens an existing file as it lies on disk, as if it had no write-ahead log. Only while nobody makes a checkpoint.
pub(super) fn without_log(path: &Path, key: &[u8; 32]) -> Result<Connection, Fault> {
    open(path, key, Access::Still, |connection| connection.pragma_update(None, "query_only", true))
}

fn open(
    path: &Path,
    key: &[u8; 32],
    access: Access,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Connection, Fault> {
    sqlite::open(path, key, access)
        .and_then(|connection| prepare(&connection).map(|()| connection))
        .map_err(|error| Fault::new(format!("open {}", path.display()), error))
}

/// NORMAL: no fsync per commit, but checkpoints sync the WAL before and the file after, so that a power
/// cut leaves every file readable at some watermark above the last checkpoint.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // One plan a statement, whatever is bound to it. Without this a statement whose plan could depend on a value is
    // prepared anew at each execution: a tenth of all processor time of a write (measured).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
