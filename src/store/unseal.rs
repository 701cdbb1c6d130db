//! Takes the encryption off a copy of a file that lies by itself, outside of any store.

use std::path::Path;

use sqlite::Access;

use super::{
    filekeys::parse_line,
    keyring::{Keyring, WrappedKey},
};
use crate::kernel::{Fault, FileId};

/// Makes the copy at `path` plain SQLite, in place, with the newest of the keys in `lines` that opens it; whether one
/// does. Nobody else has it open.
pub fn unseal_copy(keyring: &Keyring, file: FileId, lines: &str, path: &Path) -> Result<bool, Fault> {
    let failed = |error| Fault::new(format!("take the encryption off {}", path.display()), error);
    for (_, _, wrapped) in lines.lines().rev().filter_map(parse_line) {
        // One that is wrapped under a cluster key that was destroyed is nobody's.
        let Ok(key) = keyring.unwrap_key(file, &WrappedKey(wrapped.to_owned())) else { continue };
        let trial = sqlite::open(path, &key, Access::Still).map_err(failed)?;
        let read = trial.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        drop(trial);
        match read {
            Ok(()) => return sqlite::unseal(path, &key).map(|()| true).map_err(failed),
            Err(error) if sqlite::is_damage(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}
