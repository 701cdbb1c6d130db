//! The sum of a file's rows: what replicas compare, kept as the file changes instead of read anew.
//!
//! Every row has a digest (SHA-256 over its table and its values, cut to 128 bits); the sum adds them up
//! without regard to order. So a row that comes adds its digest and a row that goes takes it away: the sum
//! moves with each entry, in the entry's own transaction, at the price of the rows it touches. It stands in
//! `spine_state.sum`, and three things follow from it:
//! - two replicas with equal marks hold equal rows if their sums are equal;
//! - a replica can test itself: the sum of a scan must be the sum on record ([`scan`]);
//! - neither the order of rows on disk nor the plan of a statement matters, which differ between versions.
//!
//! It guards against chance and error, not against somebody who may write to the file.

use ring::digest::{SHA256, digest};
use rusqlite::{Connection, types::ValueRef};
use serde::{Deserialize, Serialize};
use sqlite::Change;

use super::digest::tables;
use crate::kernel::{Fault, from_hex, to_hex};

/// The sum of all rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum(u128);

/// Holds the sum itself, and is written with it: it cannot be part of it.
const NOT_SUMMED: &str = "spine_state";
/// Bytes of rows between two looks of [`scan`] at its pace.
const PACE_BYTES: usize = 256 << 10;

impl Sum {
    /// As it stands in a file.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// What stands in a file.
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Follows one row that comes, goes or changes; `buffer` is room to work in.
    pub(super) fn follow(&mut self, change: &Change<'_>, buffer: &mut Vec<u8>) {
        if change.table == NOT_SUMMED {
            return;
        }
        if let Some(old) = &change.old {
            self.0 = self.0.wrapping_sub(of_row(change.table, old.iter().copied(), buffer));
        }
        if let Some(new) = &change.new {
            self.0 = self.0.wrapping_add(of_row(change.table, new.iter().copied(), buffer));
        }
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        to_hex(&sum.to_bytes())
    }
}

impl TryFrom<String> for Sum {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::from_bytes).ok_or("a sum is 32 hexadecimal digits")
    }
}

/// Sums up every row there is. `pace` is told how many bytes were read since it was last asked, and may wait
/// or end the scan.
pub(super) fn scan(tx: &Connection, mut pace: impl FnMut(usize) -> Result<(), Fault>) -> Result<Sum, Fault> {
    let (mut sum, mut buffer, mut read) = (0_u128, Vec::new(), 0);
    for table in tables(tx)?.iter().filter(|table| *table != NOT_SUMMED) {
        let mut statement = tx.prepare(&format!("SELECT * FROM \"{table}\""))?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..width).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
            sum = sum.wrapping_add(of_row(table, values.into_iter(), &mut buffer));
            read += buffer.len();
            if read >= PACE_BYTES {
                pace(std::mem::take(&mut read))?;
            }
        }
    }
    Ok(Sum(sum))
}

/// Each value with its type and length, so that no two rows run together. Absent values at the end count for
/// nothing: a column added by a migration changes no row that it does not fill.
fn of_row<'a>(table: &str, values: impl Iterator<Item = ValueRef<'a>>, buffer: &mut Vec<u8>) -> u128 {
    buffer.clear();
    buffer.extend_from_slice(table.as_bytes());
    buffer.push(0);
    let mut absent = 0;
    for value in values {
        if value == ValueRef::Null {
            absent += 1;
            continue;
        }
        buffer.extend(std::iter::repeat_n(0, std::mem::take(&mut absent)));
        let (tag, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => continue,
            ValueRef::Integer(number) => (1, &number.to_be_bytes()),
            ValueRef::Real(number) => (2, &number.to_bits().to_be_bytes()),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        buffer.push(tag);
        buffer.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        buffer.extend_from_slice(bytes);
    }
    let hash = digest(&SHA256, buffer);
    hash.as_ref().iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn scanned(tx: &Connection) -> Sum {
        scan(tx, |_| Ok(())).unwrap()
    }

    #[test]
    fn the_sum_that_follows_changes_is_the_sum_of_a_scan() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = 1;
                 CREATE TABLE spine_state (one INTEGER PRIMARY KEY, sum BLOB) STRICT;
                 CREATE TABLE a (b BLOB, t TEXT, n INTEGER, PRIMARY KEY (t, n)) STRICT, WITHOUT ROWID;
                 CREATE TABLE c (seq INTEGER PRIMARY KEY, t TEXT, n INTEGER,
                     FOREIGN KEY (t, n) REFERENCES a (t, n) ON DELETE CASCADE) STRICT;",
            )
            .unwrap();
        let running: Arc<Mutex<Sum>> = Arc::default();
        let (followed, mut buffer) = (Arc::clone(&running), Vec::new());
        let follow = move |change: &Change<'_>| followed.lock().unwrap().follow(change, &mut buffer);
        sqlite::watch(&connection, Box::new(follow)).unwrap();
        for sql in [
            "INSERT INTO a VALUES (x'00', 'x', 1), (NULL, 'x', 2), (x'', '', -1)",
            "INSERT INTO c (t, n) VALUES ('x', 1), ('x', 2), (NULL, NULL), ('', -1)",
            "UPDATE a SET b = 'text' || n WHERE n > 0 AND typeof(b) = 'none'",
            "UPDATE c SET seq = seq + 100 WHERE t = 'x'",
            "INSERT INTO spine_state VALUES (1, x'0102')",
            "DELETE FROM a WHERE n = 2",
            "INSERT INTO a VALUES (x'01', 'x', 1) ON CONFLICT (t, n) DO UPDATE SET b = x'07'",
            "UPDATE a SET n = 12 WHERE n = 77",
        ] {
            connection.execute_batch(sql).unwrap();
            assert_eq!(scanned(&connection), *running.lock().unwrap(), "after {sql}");
        }
        assert_ne!(scanned(&connection), Sum::default());
        let before = scanned(&connection);
        connection.execute_batch("ALTER TABLE c ADD COLUMN later TEXT").unwrap();
        assert_eq!(scanned(&connection), before, "an empty column changes nothing");
        connection.execute_batch("DELETE FROM c; DELETE FROM a").unwrap();
        assert_eq!(*running.lock().unwrap(), Sum::default());
    }

    #[test]
    fn rows_do_not_run_together() {
        let of = |values: &[ValueRef<'_>]| of_row("t", values.iter().copied(), &mut Vec::new());
        assert_ne!(
            of(&[ValueRef::Text(b"ab"), ValueRef::Text(b"")]),
            of(&[ValueRef::Text(b"a"), ValueRef::Text(b"b")])
        );
        assert_ne!(of(&[ValueRef::Text(b"a")]), of(&[ValueRef::Blob(b"a")]));
        assert_ne!(of(&[ValueRef::Null, ValueRef::Integer(1)]), of(&[ValueRef::Integer(1)]));
        assert_eq!(of(&[ValueRef::Integer(1), ValueRef::Null]), of(&[ValueRef::Integer(1)]));
    }

    #[test]
    fn the_digest_of_a_row_is_for_ever() {
        // SHA-256 of the bytes by hand: nodes of different versions compare their sums.
        let row = [
            ValueRef::Integer(-5),
            ValueRef::Null,
            ValueRef::Text(b"hi"),
            ValueRef::Blob(&[255]),
            ValueRef::Null,
        ];
        let sum = of_row("t", row.into_iter(), &mut Vec::new());
        assert_eq!(sum, 0xb354_d995_7d81_a573_42a5_d357_1cd1_a610);
    }

    #[test]
    fn a_sum_is_read_as_it_was_written() {
        let sum = Sum(0x0102 << 100 | 7);
        assert_eq!(Sum::from_bytes(sum.to_bytes()), sum);
        assert_eq!(Sum::try_from(String::from(sum)), Ok(sum));
        assert!(Sum::try_from("07".to_owned()).is_err());
    }

    /// What the sum costs an entry: by row and by size. Run by hand, in release:
    /// `cargo test --release --lib what_it_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stdout, clippy::indexing_slicing, clippy::cast_precision_loss)]
    fn what_it_costs_to_follow_rows() {
        const ROWS: u32 = 20_000;
        for bytes in [100_usize, 1_000, 10_000] {
            let mut took = [std::time::Duration::ZERO; 2];
            for round in 0..6 {
                let connection = Connection::open_in_memory().unwrap();
                connection
                    .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT) STRICT")
                    .unwrap();
                if round % 2 == 1 {
                    let (mut sum, mut buffer) = (Sum::default(), Vec::new());
                    sqlite::watch(&connection, Box::new(move |change| sum.follow(change, &mut buffer)))
                        .unwrap();
                }
                let body = "x".repeat(bytes);
                let began = std::time::Instant::now();
                connection.execute_batch("BEGIN").unwrap();
                let mut insert = connection.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
                for row in 0..ROWS {
                    insert.execute((row, &body)).unwrap();
                }
                connection.execute_batch("COMMIT").unwrap();
                took[round % 2] += began.elapsed();
            }
            let us = |took: std::time::Duration| took.as_secs_f64() * 1e6 / 3.0 / f64::from(ROWS);
            let (without, with) = (us(took[0]), us(took[1]));
            let per_mib = (with - without) / bytes as f64 * f64::from(1 << 20) / 1_000.0;
            println!(
                "rows of {bytes} bytes: {without:.2} us without, {with:.2} us with, {per_mib:.2} ms per MiB"
            );
        }
    }
}
