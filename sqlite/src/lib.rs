//! Opens SQLite files with their key, and tells which rows a connection changes. Nothing else.
//!
//! `build.rs` compiles SQLite3 Multiple Ciphers; rusqlite links against it. Every page is sealed with
//! AEGIS-256 under one raw 256-bit key per file (no key derivation on open), so a flipped bit is an
//! error at read and a file without its key is noise.

use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Result, ffi};

mod changes;

pub use changes::{Change, Watcher, watch};

/// Length of a file's raw key.
pub const KEY_BYTES: usize = 32;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and write; the file is created when absent.
    Write,
    /// Read only; an absent file is an error.
    Read,
    /// Read only, as the file lies on disk: a write-ahead log beside it is not looked at. The caller knows that nobody
    /// writes to it meanwhile; an absent file is an error.
    Still,
}

/// Opens `path` and gives SQLite its key before anything else touches the file.
///
/// SQLite checks the key at the first read only, so a wrong key shows there as "file is not a database".
///
/// # Errors
/// The file cannot be opened.
pub fn open(path: &Path, key: &[u8; KEY_BYTES], access: Access) -> Result<Connection> {
    let flags = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Read | Access::Still => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match access {
        Access::Write => Connection::open_with_flags(path, flags)?,
        Access::Read => Connection::open_with_flags(named(path, "mode=ro"), flags)?,
        Access::Still => Connection::open_with_flags(named(path, "immutable=1"), flags)?,
    };
    unlock(&connection, key)?;
    Ok(connection)
}

/// Writes one view of what a connection that reads sees to `to`, an empty file, as plain SQLite without a write-ahead log;
/// synced. Nothing is in it that was deleted.
///
/// # Errors
/// The key of the connection is another one, or `to` holds something or cannot be written.
pub fn unseal(connection: &Connection, to: &Path) -> Result<()> {
    // An empty key is none. Nor is the room wanted that a seal takes at the end of each page.
    connection.execute("VACUUM INTO ?1", [named(to, "key=&reserve=0")]).map(drop)
}

/// Whether an error says that what lies on disk is not what was written: a page that fails its authentication, a
/// file that is cut short or is none of ours. Not a disk that is full or answers with an error.
pub fn is_damage(error: &Error) -> bool {
    let Error::SqliteFailure(failure, _) = error else { return false };
    matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        || [ffi::SQLITE_IOERR_DATA, ffi::SQLITE_IOERR_SHORT_READ].contains(&failure.extended_code)
}

/// The version of SQLite that is linked, `3.54.0`.
pub fn version() -> &'static str {
    rusqlite::version()
}

/// A name by which SQLite takes nothing but the file itself, and how: <https://www.sqlite.org/uri.html>.
fn named(path: &Path, how: &str) -> String {
    let name = path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |name, byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            name + &char::from(*byte).to_string()
        }
        other => name + "%" + &hex(&[*other]),
    });
    format!("file:{name}?{how}")
}

fn unlock(connection: &Connection, key: &[u8; KEY_BYTES]) -> Result<()> {
    connection.pragma_update(None, "cipher", "aegis")?;
    // Only the `raw:` form is taken as the key itself. Anything else, `hexkey` too, is a passphrase that goes
    // through Argon2id: 19 MiB and 20 ms at each open (measured).
    connection.pragma_update(None, "key", format!("raw:{}", hex(key)))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_noise_without_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = open(&path, &[7; 32], Access::Write).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute_batch("CREATE TABLE t(v TEXT); INSERT INTO t VALUES ('planted-marker')").unwrap();
        writer.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
        drop(writer);

        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(14).any(|at| at == b"planted-marker"));
        let read = |key: [u8; 32]| {
            open(&path, &key, Access::Read)
                .unwrap()
                .query_row("SELECT v FROM t", [], |row| row.get::<_, String>(0))
        };
        assert_eq!(read([7; 32]).unwrap(), "planted-marker".to_owned());
        assert!(read([8; 32]).is_err());
    }

    #[test]
    fn what_is_unsealed_opens_without_a_key_and_holds_what_only_the_log_held_and_nothing_that_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        // SQLite takes the name as a URI: signs that mean something there are part of the name all the same.
        let (path, to) = (folder.path().join("a b?c#d%41.db"), folder.path().join("p?key=x.db"));
        let writer = open(&path, &[7; 32], Access::Write).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute_batch("CREATE TABLE t(v TEXT); INSERT INTO t VALUES ('deleted-marker')").unwrap();
        writer.execute_batch("DELETE FROM t; INSERT INTO t VALUES ('planted-marker')").unwrap();
        let reader = |key| open(&path, key, Access::Read).unwrap();
        assert!(unseal(&reader(&[8; 32]), &to).is_err());
        unseal(&reader(&[7; 32]), &to).unwrap();
        let bytes = std::fs::read(&to).unwrap();
        let holds = |text: &[u8]| bytes.windows(14).any(|at| at == text);
        assert!(
            bytes.starts_with(b"SQLite format 3") && holds(b"planted-marker") && !holds(b"deleted-marker")
        );
        let plain = Connection::open(&to).unwrap();
        let whole: String = plain.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let mode: String = plain.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!((whole.as_str(), mode.as_str(), bytes[20]), ("ok", "delete", 0), "no room for seals");
        assert!(unseal(&reader(&[7; 32]), &to).is_err(), "it holds something");
    }

    #[test]
    fn a_key_is_the_key_and_no_passphrase_to_derive_one_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        open(&path, &[7; 32], Access::Write).unwrap().execute_batch("CREATE TABLE t(v TEXT)").unwrap();
        let opens_with = |pragma: &str, key: String| {
            let reader = Connection::open(&path).unwrap();
            reader.pragma_update(None, "cipher", "aegis").unwrap();
            reader.pragma_update(None, pragma, key).unwrap();
            reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).is_ok()
        };
        assert!(opens_with("key", format!("raw:{}", hex(&[7; 32]))));
        assert!(!opens_with("hexkey", hex(&[7; 32])));
    }

    #[test]
    fn a_flipped_bit_is_an_error_at_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = open(&path, &[7; 32], Access::Write).unwrap();
        writer.execute_batch("CREATE TABLE t(v TEXT); INSERT INTO t VALUES ('x')").unwrap();
        drop(writer);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() - 100;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let read: Result<String> =
            open(&path, &[7; 32], Access::Read).unwrap().query_row("SELECT v FROM t", [], |row| row.get(0));
        assert!(read.is_err_and(|error| is_damage(&error)));
    }

    #[test]
    fn sqlite_is_newer_than_the_wal_reset_fault() {
        let number = rusqlite::version_number();
        assert!(number >= 3_051_003, "{}", version());
    }

    /// `cargo test --release -p threatflow-sqlite what_it_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    #[allow(clippy::print_stdout)]
    fn what_it_costs_to_encrypt() {
        const ROUNDS: u32 = 10;
        const COMMITS: u32 = 500;
        let folder = tempfile::tempdir().unwrap();
        let filled = |name: &str, key: Option<[u8; KEY_BYTES]>| {
            let path = folder.path().join(name);
            let file = match key {
                Some(key) => open(&path, &key, Access::Write).unwrap(),
                None => Connection::open(&path).unwrap(),
            };
            file.pragma_update(None, "journal_mode", "wal").unwrap();
            file.pragma_update(None, "synchronous", "NORMAL").unwrap();
            file.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB) STRICT")
                .unwrap();
            file
        };
        let files = [filled("plain.db", None), filled("sealed.db", Some([7; KEY_BYTES]))];
        let mut taken = [std::time::Duration::ZERO; 2];
        for round in 0..ROUNDS {
            for (file, taken) in files.iter().zip(&mut taken) {
                let began = std::time::Instant::now();
                for commit in 0..COMMITS {
                    let mut insert = file.prepare_cached("INSERT INTO t (b, c) VALUES (?1, ?2)").unwrap();
                    file.execute_batch("BEGIN").unwrap();
                    for row in 0..16_u32 {
                        let id = u64::from(round * COMMITS * 16 + commit * 16 + row);
                        insert
                            .execute((
                                format!("{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                                [1_u8; 600].as_slice(),
                            ))
                            .unwrap();
                    }
                    file.execute_batch("COMMIT").unwrap();
                }
                file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                *taken += began.elapsed();
            }
        }
        let ratio = taken[1].as_secs_f64() / taken[0].as_secs_f64();
        println!("plain {:?}, sealed {:?}: {ratio:.2} times", taken[0], taken[1]);
    }
}
