//! Signing keys: drawn, turned, retired, and sealed anew with the cluster key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::sessions::{
        model::{KeyState, NewKey},
        queries::{self, KeyRow},
    },
    kernel::{Fault, Permission, Refusal, from_hex},
    store::Stop,
};

/// The first signing key, with the cluster.
pub fn found(cx: &mut Apply<'_>, key: &NewKey) -> Result<(), Stop> {
    insert(cx, key, KeyState::Active)
}

fn insert(cx: &mut Apply<'_>, key: &NewKey, state: KeyState) -> Result<(), Stop> {
    let row = (&key.kid, bytes(&key.public)?, bytes(&key.sealed)?, state.name(), cx.at.0);
    cx.tx.prepare_cached(INSERT)?.execute(row)?;
    cx.touch_access();
    Ok(())
}

fn bytes(hex: &str) -> Result<Vec<u8>, Fault> {
    from_hex(hex).ok_or_else(|| Fault::found("a command carries a signing key that is not hexadecimal"))
}

/// A new signing key: published first and used later, or used at once in place of all others, whose tokens are then
/// good for nothing. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct RotateKeys {
    /// The key.
    pub key: NewKey,
    /// Whether the others are revoked.
    #[serde(default)]
    pub at_once: bool,
}

impl Command for RotateKeys {
    const KIND: Kind = Kind::new("sessions.rotate_keys", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// The key's name: a repeated request, whose fresh key was not taken, can tell.
    type Reply = String;

    fn apply(self, cx: &mut Apply<'_>) -> Result<String, Stop> {
        let keys = queries::keys(cx.tx)?;

        if !self.at_once && keys.iter().any(|key| key.state == KeyState::Next) {
            return Err(Refusal::WrongState { state: "rotating".to_owned() }.into());
        }

        let mut revoked = Vec::new();
        if self.at_once {
            cx.tx.prepare_cached(REVOKE)?.execute([])?;
            revoked.extend(keys.into_iter().map(|key| key.kid));
        }
        let state = if self.at_once { KeyState::Active } else { KeyState::Next };
        insert(cx, &self.key, state)?;

        cx.note("signing_key", &self.key.kid, json!({ "state": state, "revoked": revoked }));
        Ok(self.key.kid)
    }
}

/// Time moves keys on: the next one signs once it was published long enough, and one is forgotten when its last
/// tokens have ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdvanceKeys {}

impl Command for AdvanceKeys {
    const KIND: Kind = Kind::new("sessions.advance_keys", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let keys = queries::keys(cx.tx)?;

        let at = cx.at;
        let due = |state: KeyState| {
            let over = move |key: &&KeyRow| key.state == state && key.since.plus(state.lasts_ms()) <= at;
            keys.iter().filter(over).map(|key| key.kid.clone()).collect::<Vec<_>>()
        };
        let (next, ended) = (due(KeyState::Next), due(KeyState::Retired));
        if next.is_empty() && ended.is_empty() {
            return Err(Refusal::WrongState { state: "current".to_owned() }.into());
        }

        for kid in &ended {
            cx.tx.prepare_cached(FORGET)?.execute([kid])?;
        }
        for kid in &next {
            cx.tx.prepare_cached(RETIRE)?.execute([cx.at.0])?;
            cx.tx.prepare_cached(ACTIVATE)?.execute((kid, cx.at.0))?;
        }

        cx.touch_access();
        cx.note(
            "signing_key",
            next.first().map_or("none", String::as_str),
            json!({ "active": next, "forgotten": ended }),
        );
        Ok(())
    }
}

/// Signing keys sealed under another cluster key than before; what they are stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResealKeys {
    /// Name to sealed key (hexadecimal).
    pub keys: BTreeMap<String, String>,
}

impl Command for ResealKeys {
    const KIND: Kind = Kind::new("sessions.reseal_keys", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        for (kid, sealed) in &self.keys {
            cx.tx.prepare_cached(RESEAL)?.execute((kid, bytes(sealed)?))?;
        }
        cx.note("cluster", cx.organization, json!({ "resealed": self.keys.keys().collect::<Vec<_>>() }));
        Ok(())
    }
}

const INSERT: &str =
    "INSERT INTO sessions_keys (kid, public, sealed, state, since_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
const REVOKE: &str = "DELETE FROM sessions_keys";
const FORGET: &str = "DELETE FROM sessions_keys WHERE kid = ?1";
const RETIRE: &str = "UPDATE sessions_keys SET state = 'retired', since_ms = ?1 WHERE state = 'active'";
const ACTIVATE: &str = "UPDATE sessions_keys SET state = 'active', since_ms = ?2 WHERE kid = ?1";
const RESEAL: &str = "UPDATE sessions_keys SET sealed = ?2 WHERE kid = ?1";
