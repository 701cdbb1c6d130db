//! Functions whose answer differs between nodes, overridden on the connection that apply writes with.

use rusqlite::{Connection, Error, functions::FunctionFlags};

/// Name and number of arguments (-1: any).
const BANNED: &[(&str, i32)] = &[
    ("random", 0),
    ("randomblob", 1),
    ("date", -1),
    ("time", -1),
    ("datetime", -1),
    ("julianday", -1),
    ("strftime", -1),
    ("unixepoch", -1),
    ("timediff", 2),
    ("current_date", 0),
    ("current_time", 0),
    ("current_timestamp", 0),
    ("changes", 0),
    ("total_changes", 0),
    ("last_insert_rowid", 0),
    ("sqlite_version", 0),
    ("sqlite_source_id", 0),
];

/// Makes every banned function an error on `connection`.
pub(super) fn ban(connection: &Connection) -> rusqlite::Result<()> {
    for &(name, arguments) in BANNED {
        connection.create_scalar_function(name, arguments, FunctionFlags::SQLITE_UTF8, move |_| {
            let why = format!("{name}() differs between nodes; the edge or the leader must carry the value");
            Err::<i64, _>(Error::UserFunctionError(why.into()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_chance_are_errors_on_a_write_connection() {
        let connection = Connection::open_in_memory().unwrap();
        ban(&connection).unwrap();
        for sql in
            ["SELECT random()", "SELECT datetime('now')", "SELECT CURRENT_TIMESTAMP", "SELECT changes()"]
        {
            let answer: rusqlite::Result<String> = connection.query_row(sql, [], |row| row.get(0));
            assert!(answer.is_err(), "{sql}");
        }
    }
}
