//! A digest of a file's content: the rows in key order, whatever the pages look like.
//!
//! Pages carry random nonces and lie where each node's batches put them, so replicas cannot be compared by
//! bytes. Two files with equal digests hold the same rows.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, types::ValueRef};

use crate::kernel::{Fault, to_hex};

/// The digest of every row of every table, and the mark it stands at.
pub fn digest(tx: &Connection) -> Result<(u64, String), Fault> {
    let mut hash = Context::new(&SHA256);
    for table in tables(tx)? {
        hash.update(table.as_bytes());
        // Without a key of its own a STRICT table is ordered by all its columns.
        let columns: i64 = tx.query_row(COLUMNS, [&table], |row| row.get(0))?;
        let order: Vec<String> = (1..=columns).map(|column| column.to_string()).collect();
        let mut statement =
            tx.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY {}", order.join(", ")))?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..width {
                absorb(&mut hash, row.get_ref(column)?);
            }
        }
    }
    Ok((super::writer::mark_of(tx)?, to_hex(hash.finish().as_ref())))
}

/// The tables of a file, by name.
pub(super) fn tables(tx: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = tx.prepare(TABLES)?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// Each value with its type and length, so that no two rows run together.
fn absorb(hash: &mut Context, value: ValueRef<'_>) {
    let (tag, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => {
            hash.update(&[1]);
            return hash.update(&number.to_be_bytes());
        }
        ValueRef::Real(number) => {
            hash.update(&[2]);
            return hash.update(&number.to_bits().to_be_bytes());
        }
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    hash.update(&[tag]);
    hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(bytes);
}

const TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
const COLUMNS: &str = "SELECT count(*) FROM pragma_table_info(?1)";
