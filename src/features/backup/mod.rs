//! Backup: everything in the log and in the files, in buckets, and back.
//!
//! Words: a *target* is a bucket or folder; an *image* is a file at an index, as a chain of LTX files that litestream
//! restores; a *segment* is a stretch of the log; a *catalogue* names the images of one cut; the *vault* holds the keys;
//! the *recovery key* opens the vault and is the operator's alone; a *lineage* is one history; a *drill* is a restore into
//! scratch. Owns the tables `backup_targets`, `backup_state`, `backup_drills` and
//! `backup_restores` of the system file.
//!
//! What always holds:
//! - no writer waits for a backup, and what is put was committed;
//! - no object is ever written over with other bytes but `HEAD` and the vault; a lineage has one cluster that writes it,
//!   but for keys of what was erased, which leave the vaults of lineages that nobody writes any more;
//! - whatever is read from a bucket is verified before it is used, and what is wrong is named;
//! - a bucket without its recovery key is noise; a file whose keys left the vault is noise for everybody.
//!
//! Must not know: what the rows of a file mean. `docs/decisions/0024-backup-in-two-tiers.md` says why; start at
//! `jobs/mod.rs` and `restore/mod.rs`.

pub mod bucket;
mod commands;
pub mod formats;
pub mod http;
pub mod jobs;
mod lineage;
pub mod ltx;
pub mod model;
mod objects;
mod queries;
pub mod restore;

pub use commands::{
    BeginLineage, EndRestore, Ended, Load, NoteProgress, Progress, RecordDrill, RemoveTarget, ReplaceContent,
    RequestDrill, RequestRestore, SetBackupPolicy, SetTarget, TargetSet,
};
pub use queries::{Restore, State, Target, drills, last_drills, state, targets, wanted_restores};

use crate::{kernel::Fault, store::Keyring};

/// The context under which the credentials of a target are sealed.
pub(crate) fn credentials_context(target: &str) -> String {
    format!("backup-credentials:{target}")
}

/// The context under which the recovery key is sealed.
pub(crate) const RECOVERY_CONTEXT: &str = "backup-recovery-key";

/// The name under which the leader says how far the restore of an organization is.
pub const RESTORE_REPORT: &str = "restore";

/// The recovery key, unsealed.
pub fn recovery_key(keyring: &Keyring, sealed: &[u8]) -> Result<formats::RecoveryKey, Fault> {
    let raw = keyring.unseal_for_life(RECOVERY_CONTEXT, sealed)?;
    formats::RecoveryKey::from_raw(&raw).ok_or_else(|| Fault::found("the recovery key is damaged"))
}

/// The bucket of a target.
pub fn open_target(keyring: &Keyring, target: &Target) -> Result<bucket::Bucket, String> {
    let settings = serde_json::from_value(target.settings.clone())
        .map_err(|error| format!("the settings of target {} are of another version: {error}", target.name))?;
    let settings: bucket::Settings = settings;
    let credentials = match &target.credentials {
        None => None,
        Some(sealed) => {
            let plain = keyring.unseal_for_life(&credentials_context(&target.name), sealed);
            let plain = plain.map_err(|fault| fault.to_string())?;
            let read = serde_json::from_slice::<bucket::Credentials>(&plain);
            Some(read.map_err(|_| format!("the credentials of target {} are damaged", target.name))?)
        }
    };
    bucket::Bucket::open(&settings, credentials.as_ref()).map_err(objects::told)
}
