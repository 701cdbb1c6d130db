//! What does not go back when an organization is brought back from a backup.
//!
//! What was written in its file since the moment is taken back, but for what others know of or rely on: what the registry
//! and the organizations above and below were told, the trail, answers that were remembered, effects on their way, use
//! that was counted in a period, that people were deleted, and that a code which is good once was used. Sessions end: whoever
//! comes logs in again.

use rusqlite::Connection;

use crate::{
    cluster::keep_replies,
    features::{audit, factors, identity, keys, quotas},
    kernel::{Fault, OrgId},
    store::{Keyring, take_rows},
};

/// Tables whose rows stay as they are.
const STAY: &[&str] = &[
    "spine_outbox",
    "organizations_profile",
    "organizations_children",
    "access_overseers",
    "login_domains",
    "login_failures",
    "factors_spent",
    "identity_erasures",
];
/// Tables that are empty afterwards.
const END: &[&str] = &["sessions_open", "identity_links"];

/// What is made of a restored file before every member gets it: what will come from the present file, or from none, goes.
/// `left` is the present file of the organization whose content it is, if there still is one. Answers up to which event of
/// its trail that was looked at.
pub(super) fn prepare(
    restored: &Connection,
    present: &Connection,
    left: Option<&Connection>,
    keyring: &Keyring,
    (from, into): (OrgId, OrgId),
) -> Result<i64, Fault> {
    for table in STAY.iter().chain(END) {
        restored.execute(&format!("DELETE FROM {table}"), [])?;
    }
    restored.execute("DELETE FROM spine_replies", [])?;
    let mut seen = 0;
    if let Some(left) = left {
        let since = if audit::continues(left, restored)? { audit::last_seq(restored)? } else { 0 };
        identity::forget_deleted(restored, left, since)?;
        factors::keep_spent(restored, left)?;
        seen = audit::last_seq(left)?;
    }
    if from != into {
        factors::move_secrets(keyring, restored, from, into)?;
    }
    // Another organization's, or another history's: none of it is the beginning of the one that goes on.
    if from != into || !audit::continues(present, restored)? {
        audit::drop_trail(restored)?;
    }
    // Most of what stays is long known: what is left to apply is what comes until then.
    audit::keep_trail(restored, present, true)?;
    keep_replies(restored, present)?;
    Ok(seen)
}

/// Completes a restored file with what does not go back, from the present one as the entry has left it.
pub(super) fn complete(restored: &Connection, present: &Connection) -> Result<(), Fault> {
    let since = audit::last_seq(restored)?;
    audit::keep_trail(restored, present, identity::erases(present, since)?)?;
    keep_replies(restored, present)?;
    for table in STAY {
        take_rows(present, restored, table, None)?;
    }
    quotas::keep_use(restored, present)?;
    keys::keep_data_key(restored, present)?;
    identity::forget_deleted(restored, present, since)?;
    factors::keep_spent(restored, present)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
