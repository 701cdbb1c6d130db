//! Files in the clear, for who is to read them without this program.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::Connection;
use sqlite::Access;

use super::{
    durable::remove_if_present,
    filekeys::parse_line,
    keyring::{Keyring, WrappedKey},
};
use crate::kernel::{Fault, FileId};

/// Writes the sealed file at `sealed`, which lies by itself outside of any store, as plain SQLite to `to`, with the newest
/// of the keys in `lines` that opens it; whether one does. Nobody writes to it meanwhile.
pub fn unseal_copy(
    keyring: &Keyring,
    file: FileId,
    lines: &str,
    sealed: &Path,
    to: &Path,
) -> Result<bool, Fault> {
    let failed = |error| Fault::new(format!("take the encryption off {}", sealed.display()), error);
    for (_, _, wrapped) in lines.lines().rev().filter_map(parse_line) {
        // One that is wrapped under a cluster key that was destroyed is nobody's.
        let Ok(key) = keyring.unwrap_key(file, &WrappedKey(wrapped.to_owned())) else { continue };
        let trial = sqlite::open(sealed, &key, Access::Still).map_err(failed)?;
        match trial.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())) {
            Ok(()) => return unseal(&trial, to).map(|()| true),
            Err(error) if sqlite::is_damage(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}

/// Writes what `sealed` reads to `to`, which its owner alone may read. It has its name when it is whole, and takes it from
/// no other file.
pub(super) fn unseal(sealed: &Connection, to: &Path) -> Result<(), Fault> {
    let half = to.with_extension("opening");
    remove_if_present(&half)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half);
    let made = made.map_err(Into::into).and_then(|_| Ok(sqlite::unseal(sealed, &half)?));
    let placed = made.and_then(|()| Ok(fs::hard_link(&half, to)?));
    remove_if_present(&half)?;
    placed.map_err(|error: Box<dyn Error + Send + Sync>| {
        Fault::new(format!("write {} without encryption", to.display()), error)
    })
}
