//! Small files written so that a crash leaves the old content or the new, never half.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::kernel::Fault;

/// Writes `bytes` to `path` with mode 0600: staged, fsynced, renamed, directory fsynced.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    write_all(path, bytes).map_err(|error| Fault::new(format!("write {}", path.display()), error))
}

/// The content of `path`; `None` when there is no such file.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::new(format!("read {}", path.display()), error)),
    }
}

/// Removes `path` if it is there.
pub(super) fn remove_if_present(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::new(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Removes `folder` and all that is in it, if it is there.
pub fn remove_folder(folder: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::new(format!("remove {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Fault> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Fault::new(format!("fsync {}", folder.display()), error))
}

fn write_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let staged = path.with_extension("staged");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    File::open(folder)?.sync_all()
}
