//! A file of the store that another program took out of a backup, made readable.

use std::{fs::File, path::Path};

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
    File::open(sealed).map_err(|error| {
        Failure::new(format!("{} cannot be read: {error}", sealed.display()), "check the name of the file")
    })?;
    if unseal_copy(&opened.keyring, file, lines, sealed, to)? {
        return Ok(opened.lineage);
    }
    let what = format!("no key of {file} opens {}", sealed.display());
    Err(Failure::new(what, "it is another organization's, or it is damaged: restore it again"))
}
