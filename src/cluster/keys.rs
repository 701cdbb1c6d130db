//! This node's part in a rotation of the cluster key: it takes the new key in, seals under it, wraps its files' keys
//! and seals the cluster's authority anew, and says how far it is. `features/keys` drives it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Cluster, Unanswered};
use crate::{
    kernel::{Fault, OrgId, from_hex, to_hex},
    store::{Generation, Keyring, WrappedKey, generation_of},
};

/// A proposal of unknown outcome is not in the log later than this.
const IN_FLIGHT: Duration = Duration::from_mins(10);
/// A checkpoint writes and syncs every file that changed.
const CUT_WITHIN: Duration = Duration::from_mins(1);

/// What the seal of the replica's secrets is bound to.
const REPLICA_SECRETS: &str = "the cluster's authority";

/// A cluster key on its way to a member, over mutual TLS. Never printed, wiped when dropped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(String);

impl std::fmt::Debug for KeyText {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KeyText(…)")
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// How far a node is with the cluster keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// The generation it seals under.
    pub active: Generation,
    /// The generations it holds, with digests of their keys.
    pub held: BTreeMap<Generation, String>,
    /// Every key of its files is wrapped, and its authority sealed, under the active generation.
    pub rewrapped: bool,
    /// Nothing that it wrapped under an older generation can still come into the log.
    pub drained: bool,
    /// Files whose pages are not yet under their newest data key.
    pub rekeying: usize,
    /// Entries up to here are gone from its log.
    pub purged_index: u64,
}

/// Wrapped keys of files that are about to be created.
#[derive(Default)]
pub(super) struct Mints {
    newest: AtomicU64,
    /// The generation of each, and when one whose outcome stayed unknown is over.
    open: Mutex<BTreeMap<u64, (Generation, Option<Instant>)>>,
}

impl Mints {
    fn drained(&self, active: Generation) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|_, (_, over)| over.is_none_or(|over| over > now));
        open.values().all(|(generation, _)| *generation >= active)
    }
}

/// A wrapped key for a file that is about to be created. Dropped without [`MintedKey::arrived`], it counts as under
/// way for a while.
pub struct MintedKey {
    key: WrappedKey,
    number: u64,
    mints: Arc<Mints>,
}

impl MintedKey {
    /// The key.
    pub fn key(&self) -> &WrappedKey {
        &self.key
    }

    /// Its file is there, or surely never will be.
    pub fn arrived(self) {
        self.mints.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Drop for MintedKey {
    fn drop(&mut self) {
        let mut open = self.mints.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, over)) = open.get_mut(&self.number) {
            *over = Some(Instant::now() + IN_FLIGHT);
        }
    }
}

/// What the replica keeps on disk is sealed under the cluster key.
impl raft::Safe for Keyring {
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, raft::Fault> {
        Keyring::seal(self, REPLICA_SECRETS, plain).map_err(|fault| raft::Fault::found(fault.to_string()))
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, raft::Fault> {
        let plain = self.unseal(REPLICA_SECRETS, sealed);
        plain.map(|plain| plain.to_vec()).map_err(|fault| raft::Fault::found(fault.to_string()))
    }

    fn is_newest(&self, sealed: &[u8]) -> bool {
        generation_of(sealed) == Some(self.active())
    }
}

impl Cluster {
    /// Draws and wraps a data key for a file that is about to be created.
    pub fn mint(&self, file: OrgId) -> Result<MintedKey, Fault> {
        let keyring = self.store().keyring();
        let mints = Arc::clone(self.mints());
        let number = mints.newest.fetch_add(1, Ordering::Relaxed);
        // Noted first: whoever looks between the two must not find it drained.
        let mut open = mints.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, (keyring.active(), None));
        let key = keyring.mint(file);
        drop(open);
        Ok(MintedKey { key: key?, number, mints })
    }

    /// This node's key of a generation, for a member that lacks it.
    pub fn key_text(&self, generation: Generation) -> Option<KeyText> {
        self.store().keyring().raw(generation).map(|raw| KeyText(to_hex(&raw)))
    }

    /// Draws the key of a new generation, if this node does not hold one.
    pub fn draw_key(&self, generation: Generation) -> Result<KeyText, Fault> {
        if let Some(text) = self.key_text(generation) {
            return Ok(text);
        }
        let keyring = self.store().keyring();
        keyring.learn(generation, Zeroizing::new(keyring.draw::<32>()?.to_vec()))?;
        self.key_text(generation).ok_or_else(|| Fault::found("a drawn key is gone"))
    }

    /// Takes in a key that the leader hands out.
    pub(super) fn take_key(&self, generation: Generation, text: &KeyText) -> Result<(), String> {
        let raw = from_hex(&text.0).map(Zeroizing::new).ok_or("the key is damaged")?;
        self.store().keyring().learn(generation, raw).map_err(|fault| fault.to_string())
    }

    /// How far this node is.
    pub fn key_report(&self) -> KeyReport {
        let keyring = self.store().keyring();
        let active = keyring.active();
        KeyReport {
            active,
            held: keyring.generations(),
            rewrapped: self.store().is_rewrapped() && self.replica().is_authority_resealed(),
            drained: self.mints().drained(active),
            rekeying: self.store().rekeying().len(),
            purged_index: self.replica().status().purged_index,
        }
    }

    /// Cuts this node's log up to `index`, once its files hold what is cut.
    pub(super) async fn cut_log(&self, index: u64) -> Result<(), String> {
        let cut = self.replica().purge(index, CUT_WITHIN).await;
        cut.map_err(|reason| format!("the log could not be cut: {reason:?}"))
    }

    /// Seals under `generation` from now on, wraps every key of a file anew, and seals the authority anew.
    pub async fn activate_key(&self, generation: Generation) -> Result<(), Unanswered> {
        let (store, replica) = (Arc::clone(self.store()), self.replica().clone());
        let work = move || {
            if store.keyring().active() < generation {
                store.keyring().activate(generation)?;
            }
            replica.reseal_authority().map_err(|fault| Fault::found(fault.to_string()))?;
            store.rewrap()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(self.halt(fault)),
            Err(error) => Err(self.halt(Fault::new("wrap keys anew", error))),
        }
    }

    /// Encrypts the pages of every file anew that has got another data key.
    pub async fn reencrypt_files(&self) -> Result<(), Unanswered> {
        for file in self.store().rekeying() {
            let store = Arc::clone(self.store());
            match tokio::task::spawn_blocking(move || store.reencrypt(file)).await {
                Ok(Ok(())) if self.store().is_quarantined(file) => {}
                Ok(Ok(())) => tracing::info!(organization.id = %file, "a file is under its new data key"),
                Ok(Err(fault)) => return Err(self.halt(fault)),
                Err(error) => return Err(self.halt(Fault::new("encrypt a file anew", error))),
            }
        }
        Ok(())
    }

    /// Forgets every cluster key below the active one.
    pub fn retire_keys(&self) -> Result<(), Unanswered> {
        self.store().keyring().retire().map_err(|fault| self.halt(fault))
    }
}
