//! A file of the store that another program took out of a backup, made readable.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use uuid::Uuid;

use super::Failure;
use crate::{
    features::backup::{bucket::Bucket, formats::RecoveryKey, restore},
    kernel::OrgId,
    store::unseal_copy,
};

/// Writes `sealed`, which litestream restored from the images of `file`, as a plain SQLite file to `to`; answers from
/// which history the keys are.
pub async fn open_sealed(
    bucket: &Bucket,
    lineage: Option<Uuid>,
    recovery: &RecoveryKey,
    file: OrgId,
    sealed: &Path,
    to: &Path,
) -> Result<Uuid, Failure> {
    let opened = restore::open(bucket, lineage, recovery).await.map_err(|why| {
        Failure::new(format!("the vault cannot be read: {why}"), "check --from and the recovery key")
    })?;
    let lines = opened.vault.files.get(&file).ok_or_else(|| {
        let what =
            format!("history {} has no key of {file}: it never was there, or it was erased", opened.lineage);
        Failure::new(what, "check --organization and --lineage")
    })?;
    let half = to.with_extension("opening");
    write(sealed, &half).map_err(|error| {
        let what = format!("{} cannot be copied to {}: {error}", sealed.display(), half.display());
        Failure::new(what, "check both places, and that there is room for two copies")
    })?;
    let made = unseal_copy(&opened.keyring, file, lines, &half);
    if let Ok(true) = made {
        // Not over a file that came meanwhile.
        let placed = fs::hard_link(&half, to);
        let placed = fs::remove_file(&half).and(placed);
        return placed.map(|()| opened.lineage).map_err(|error| {
            Failure::new(format!("{} cannot be written: {error}", to.display()), "check --to")
        });
    }
    let _ = fs::remove_file(&half);
    made?;
    let what = format!("no key of {file} opens {}", sealed.display());
    Err(Failure::new(what, "it is another organization's, or it is damaged: restore it again"))
}

/// A copy that nobody else may read: it will be in the clear.
fn write(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut out).map(drop).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}
