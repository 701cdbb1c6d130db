//! Secrets that go with their people into the file of another organization.

use rusqlite::Connection;

use crate::{
    features::factors::{codes, queries},
    kernel::{Fault, OrgId},
    store::Keyring,
};

/// Seals the secrets of a file, which nobody is answered from yet, for another organization than they were sealed for.
pub fn move_secrets(keyring: &Keyring, tx: &Connection, from: OrgId, to: OrgId) -> Result<(), Fault> {
    for (id, user, sealed) in queries::secrets(tx)? {
        let sealed = codes::reseal(keyring, (from, to), user, id, &sealed)?;
        tx.prepare_cached(SET_SECRET)?.execute((id.to_string(), sealed))?;
    }
    Ok(())
}

const SET_SECRET: &str = "UPDATE factors_totp SET sealed = ?2 WHERE id = ?1";
