//! Which rows a connection changes, as it changes them: SQLite's pre-update hook behind a safe function.
//!
//! rusqlite has it too, but only with bindings generated at build time, which needs libclang. The ready-made
//! bindings hold the functions; this is the one place of the workspace that calls them.

#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    process::abort,
    ptr::null_mut,
    slice,
};

use libsqlite3_sys as ffi;
use rusqlite::{Connection, Error, Result, types::ValueRef};

/// One row on its way into or out of a table.
pub struct Change<'a> {
    /// The table.
    pub table: &'a str,
    /// The row as it was; absent for an insert.
    pub old: Option<Vec<ValueRef<'a>>>,
    /// The row as it will be; absent for a delete.
    pub new: Option<Vec<ValueRef<'a>>>,
}

/// Sees every change.
pub type Watcher = Box<dyn FnMut(&Change<'_>) + Send>;

struct Watched {
    watcher: Watcher,
}

/// Has `watcher` see every row that `connection` inserts, updates or deletes in ordinary tables, rows that a
/// foreign key deletes too. What a savepoint takes back was seen and is not seen again. It lives as long as the
/// connection.
///
/// # Errors
/// SQLite has no memory left.
pub fn watch(connection: &Connection, watcher: Watcher) -> Result<()> {
    let context: *mut c_void = Box::into_raw(Box::new(Watched { watcher })).cast();
    // SAFETY: the handle is open as long as `connection` is borrowed. The context is given to the connection
    // as client data: SQLite frees it, by `release`, when the connection closes, and calls no hook after that.
    let code = unsafe {
        let db = connection.handle();
        ffi::sqlite3_preupdate_hook(db, Some(changed), context);
        ffi::sqlite3_set_clientdata(db, c"threatflow.changes".as_ptr(), context, Some(release))
    };
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(Error::SqliteFailure(ffi::Error::new(code), Some("watch the changes of a connection".to_owned())))
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `watch`; SQLite calls this once.
    drop(unsafe { Box::from_raw(context.cast::<Watched>()) });
}

unsafe extern "C" fn changed(
    context: *mut c_void,
    db: *mut ffi::sqlite3,
    operation: c_int,
    _schema: *const c_char,
    table: *const c_char,
    _old_rowid: i64,
    _new_rowid: i64,
) {
    let seen = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: SQLite passes the context of `watch`, which nobody else uses while a statement runs, and a
        // table's name that lives until this returns, as the values do.
        let (watched, table) = unsafe { (&mut *context.cast::<Watched>(), CStr::from_ptr(table)) };
        let old = (operation != ffi::SQLITE_INSERT).then(|| unsafe { row(db, ffi::sqlite3_preupdate_old) });
        let new = (operation != ffi::SQLITE_DELETE).then(|| unsafe { row(db, ffi::sqlite3_preupdate_new) });
        (watched.watcher)(&Change { table: table.to_str().unwrap_or_default(), old, new });
    }));
    if seen.is_err() {
        // A panic must not cross C, and what was not seen would look like another node's fault later.
        abort();
    }
}

type Getter = unsafe extern "C" fn(*mut ffi::sqlite3, c_int, *mut *mut ffi::sqlite3_value) -> c_int;

/// SAFETY: only inside the hook, for a row that the operation has.
unsafe fn row<'a>(db: *mut ffi::sqlite3, get: Getter) -> Vec<ValueRef<'a>> {
    let columns = unsafe { ffi::sqlite3_preupdate_count(db) };
    let mut values = Vec::with_capacity(usize::try_from(columns).unwrap_or_default());
    for column in 0..columns {
        let mut value = null_mut();
        let code = unsafe { get(db, column, &raw mut value) };
        // Without memory there is no value: a NULL here is found as a difference, never as an equality.
        let absent = code != ffi::SQLITE_OK || value.is_null();
        values.push(if absent { ValueRef::Null } else { unsafe { read(value) } });
    }
    values
}

/// SAFETY: `value` lives as long as `'a`.
unsafe fn read<'a>(value: *mut ffi::sqlite3_value) -> ValueRef<'a> {
    let bytes = |start: *const u8| {
        let length = usize::try_from(unsafe { ffi::sqlite3_value_bytes(value) }).unwrap_or_default();
        if start.is_null() { [].as_slice() } else { unsafe { slice::from_raw_parts(start, length) } }
    };
    match unsafe { ffi::sqlite3_value_type(value) } {
        ffi::SQLITE_INTEGER => ValueRef::Integer(unsafe { ffi::sqlite3_value_int64(value) }),
        ffi::SQLITE_FLOAT => ValueRef::Real(unsafe { ffi::sqlite3_value_double(value) }),
        ffi::SQLITE_TEXT => ValueRef::Text(bytes(unsafe { ffi::sqlite3_value_text(value) })),
        ffi::SQLITE_BLOB => ValueRef::Blob(bytes(unsafe { ffi::sqlite3_value_blob(value) }.cast())),
        _ => ValueRef::Null,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn shown(row: Option<&Vec<ValueRef<'_>>>) -> String {
        let show = |value: &ValueRef<'_>| match value {
            ValueRef::Null => "null".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        };
        row.map_or("-".to_owned(), |row| row.iter().map(show).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn every_row_that_changes_is_seen_as_it_was_and_as_it_will_be() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = 1;
                 CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER) STRICT, WITHOUT ROWID;
                 CREATE TABLE c (seq INTEGER PRIMARY KEY, p TEXT REFERENCES p (id) ON DELETE CASCADE, b BLOB) STRICT;",
            )
            .unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        let note = move |change: &Change<'_>| {
            let line =
                format!("{} {} -> {}", change.table, shown(change.old.as_ref()), shown(change.new.as_ref()));
            log.lock().unwrap().push(line);
        };
        watch(&connection, Box::new(note)).unwrap();
        let run = |sql: &str| {
            connection.execute_batch(sql).unwrap();
            std::mem::take(&mut *seen.lock().unwrap())
        };
        assert_eq!(run("INSERT INTO p VALUES ('a', 1), ('b', NULL)"), ["p - -> a,1", "p - -> b,null"]);
        assert_eq!(run("INSERT INTO c VALUES (7, 'a', x'6869')"), ["c - -> 7,a,hi"]);
        assert_eq!(run("UPDATE p SET n = n + 1 WHERE id = 'a'"), ["p a,1 -> a,2"]);
        assert_eq!(
            run("INSERT INTO p VALUES ('a', 9) ON CONFLICT (id) DO UPDATE SET n = 9"),
            ["p a,2 -> a,9"]
        );
        assert_eq!(
            run("INSERT OR REPLACE INTO c VALUES (7, 'a', NULL)"),
            ["c 7,a,hi -> -", "c - -> 7,a,null"]
        );
        assert_eq!(run("INSERT INTO p VALUES ('a', 3) ON CONFLICT DO NOTHING"), [""; 0]);
        let mut both = run("DELETE FROM p WHERE id = 'a'");
        both.sort();
        assert_eq!(both, ["c 7,a,null -> -", "p a,9 -> -"]);
        assert_eq!(run("DELETE FROM p"), ["p b,null -> -"]);
        assert_eq!(
            run("CREATE TABLE late (a INTEGER PRIMARY KEY) STRICT; ALTER TABLE late ADD COLUMN b TEXT"),
            [""; 0]
        );
    }
}
