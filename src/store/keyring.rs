//! The keyring: cluster keys wrap the data keys of files, and seal what the nodes share.
//!
//! Cluster keys are numbered by *generation*. New seals are made under the *active* one; older ones open what was
//! sealed before, until they are retired. Every seal begins with the generation that made it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::kernel::{Fault, FileId, from_hex, to_hex};

/// A data key as it may be stored and replicated: sealed under a cluster key, bound to its file (hexadecimal).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKey(pub String);

impl WrappedKey {
    /// The generation of the cluster key that wraps it.
    pub fn generation(&self) -> Option<Generation> {
        generation_of(&from_hex(self.0.get(..2 * GENERATION_BYTES)?)?)
    }
}

/// Where a node keeps its keyring, sealed in a way that only it knows.
pub trait Keep: Send + Sync + 'static {
    /// What seals it, in a word; `data_dir` when nothing does.
    fn name(&self) -> &'static str;

    /// Makes `bundle` durable in place of the one before.
    fn keep(&self, bundle: &[u8]) -> Result<(), Fault>;
}

/// Number of a cluster key.
pub type Generation = u32;

/// Holds the cluster keys.
pub struct Keyring {
    ring: RwLock<Ring>,
    keep: Option<Arc<dyn Keep>>,
    random: SystemRandom,
}

#[derive(Clone)]
struct Ring {
    /// Keys the digests of requests; the same for the life of the cluster, so that repeats are recognised.
    mac: Zeroizing<Vec<u8>>,
    keys: BTreeMap<Generation, Key>,
    active: Generation,
}

#[derive(Clone)]
struct Key {
    raw: Zeroizing<Vec<u8>>,
    cipher: Arc<LessSafeKey>,
}

/// A keyring as it travels to a joiner, and to whoever keeps it.
#[derive(Serialize, Deserialize)]
struct Bundle {
    mac: String,
    active: Generation,
    keys: BTreeMap<Generation, String>,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.mac.zeroize();
        self.keys.values_mut().for_each(Zeroize::zeroize);
    }
}

const GENERATION_BYTES: usize = 4;

impl Keyring {
    const KEY_BYTES: usize = 32;

    /// Draws the keyring of a new cluster.
    pub fn create() -> Result<Self, Fault> {
        let random = SystemRandom::new();
        let mac = Zeroizing::new(draw::<{ Self::KEY_BYTES }>(&random)?.to_vec());
        let first = Key::new(Zeroizing::new(draw::<{ Self::KEY_BYTES }>(&random)?.to_vec()))?;
        let ring = Ring { mac, keys: BTreeMap::from([(1, first)]), active: 1 };
        Ok(Self { ring: RwLock::new(ring), keep: None, random })
    }

    /// A keyring of one known key: for tests.
    pub fn from_raw(raw: Vec<u8>) -> Result<Self, Fault> {
        let mac = Zeroizing::new(raw.clone());
        let keys = BTreeMap::from([(1, Key::new(Zeroizing::new(raw))?)]);
        Ok(Self { ring: RwLock::new(Ring { mac, keys, active: 1 }), keep: None, random: SystemRandom::new() })
    }

    /// Reads what [`Keyring::bundle`] wrote.
    pub fn from_bundle(bundle: &[u8]) -> Result<Self, Fault> {
        let broken = || Fault::found("the keyring is damaged");
        let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| broken())?;
        let bytes = |text: &str| from_hex(text).map(Zeroizing::new).ok_or_else(broken);
        let mut keys = BTreeMap::new();
        for (generation, text) in &bundle.keys {
            keys.insert(*generation, Key::new(bytes(text)?)?);
        }
        if !keys.contains_key(&bundle.active) {
            return Err(broken());
        }
        let ring = Ring { mac: bytes(&bundle.mac)?, keys, active: bundle.active };
        Ok(Self { ring: RwLock::new(ring), keep: None, random: SystemRandom::new() })
    }

    /// As [`Keyring::bundle`], with the generations from `from` on that `former` holds and this one does not any more.
    pub fn bundle_with(&self, former: &Self, from: Generation) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let (mut ring, former) = (self.read().clone(), former.read().clone());
        for (generation, key) in former.keys.into_iter().filter(|(generation, _)| *generation >= from) {
            ring.keys.entry(generation).or_insert(key);
        }
        ring.bundle()
    }

    /// Every key in plain sight: for a node that has been admitted, and for whoever keeps it sealed.
    pub fn bundle(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.read().bundle()
    }

    /// From now on changes are kept by `keep`, and what is there now is kept first.
    pub fn kept_by(mut self, keep: Arc<dyn Keep>) -> Result<Self, Fault> {
        keep.keep(&self.bundle()?)?;
        self.keep = Some(keep);
        Ok(self)
    }

    /// As [`Keyring::kept_by`], when `keep` has just been read.
    #[must_use]
    pub fn read_from(mut self, keep: Arc<dyn Keep>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// What seals the keyring on this node, in a word.
    pub fn seal_name(&self) -> &'static str {
        self.keep.as_ref().map_or("nothing", |keep| keep.name())
    }

    /// Random bytes for the edge: ids, salts, keys.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N], Fault> {
        draw(&self.random)
    }

    /// Draws and wraps a data key for `file`.
    pub fn mint(&self, file: FileId) -> Result<WrappedKey, Fault> {
        let key = Zeroizing::new(self.draw::<{ Self::KEY_BYTES }>()?);
        self.wrap(file, &key)
    }

    /// Wraps a data key of `file` under the active cluster key.
    pub(super) fn wrap(&self, file: FileId, key: &[u8; 32]) -> Result<WrappedKey, Fault> {
        Ok(WrappedKey(to_hex(&self.seal(&context(file), key.as_slice())?)))
    }

    /// The raw data key of `file`.
    pub fn unwrap_key(&self, file: FileId, wrapped: &WrappedKey) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let broken = || Fault::found(format!("the key of file {file} does not open under this cluster key"));
        let sealed = from_hex(&wrapped.0).ok_or_else(broken)?;
        let raw = self.unseal(&context(file), &sealed)?;
        <[u8; 32]>::try_from(raw.as_slice()).map(Zeroizing::new).map_err(|_| broken())
    }

    /// A digest of `parts` that only this cluster can compute: what is hashed may hold a password.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        to_hex(self.mac("request-fingerprint", parts).get(..16).unwrap_or_default())
    }

    /// HMAC-SHA-256 of `parts` under a key that only this cluster has and that serves this purpose alone. It is the same
    /// for the life of the cluster.
    pub fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.read().mac), purpose.as_bytes());
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.sign().as_ref().try_into().unwrap_or_default()
    }

    /// Seals what outlives rotations of the cluster key: under a key that follows from the one that is the same for
    /// the life of the cluster. For secrets that lie in many files, where nobody could seal them all anew.
    pub fn seal_for_life(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let nonce = self.draw::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        self.for_life()?
            .cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Fault::found(format!("sealing {context} failed")))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Keyring::seal_for_life`] sealed.
    pub fn unseal_for_life(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let broken = || Fault::found(format!("{context} does not open under this cluster's keys"));
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = Zeroizing::new(body.to_vec());
        let key = self.for_life()?;
        let plain =
            key.cipher.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| broken())?.len();
        body.truncate(plain);
        Ok(body)
    }

    fn for_life(&self) -> Result<Key, Fault> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.read().mac), b"sealed-for-life");
        Key::new(Zeroizing::new(key.as_ref().to_vec()))
    }

    /// Seals `plain` so that it opens only under this cluster's keys and the same `context`.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let nonce = self.draw::<NONCE_LEN>()?;
        let ring = self.read();
        let lost = || Fault::found("the active cluster key is gone");
        let cipher = &ring.keys.get(&ring.active).ok_or_else(lost)?.cipher;
        let mut sealed = plain.to_vec();
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Fault::found(format!("sealing {context} failed")))?;
        Ok([ring.active.to_be_bytes().as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what [`Keyring::seal`] sealed.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let broken = || Fault::found(format!("{context} does not open under this cluster key"));
        let generation = generation_of(sealed).ok_or_else(broken)?;
        let (nonce, body) = sealed
            .get(GENERATION_BYTES..)
            .and_then(|rest| rest.split_at_checked(NONCE_LEN))
            .ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let ring = self.read();
        let gone = || {
            Fault::found(format!(
                "{context} is sealed under cluster key {generation}, which is not held here"
            ))
        };
        let cipher = &ring.keys.get(&generation).ok_or_else(gone)?.cipher;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = cipher.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| broken())?.len();
        body.truncate(plain);
        Ok(body)
    }

    /// The generation under which new seals are made.
    pub fn active(&self) -> Generation {
        self.read().active
    }

    /// Every generation held, with a digest of its key that tells nothing of it.
    pub fn generations(&self) -> BTreeMap<Generation, String> {
        self.read().keys.iter().map(|(generation, key)| (*generation, key.digest())).collect()
    }

    /// The raw key of a generation, for a member that lacks it.
    pub fn raw(&self, generation: Generation) -> Option<Zeroizing<Vec<u8>>> {
        self.read().keys.get(&generation).map(|key| key.raw.clone())
    }

    /// Takes a cluster key in, durably, before it is used for anything.
    pub fn learn(&self, generation: Generation, raw: Zeroizing<Vec<u8>>) -> Result<(), Fault> {
        let key = Key::new(raw)?;
        self.change(|ring| {
            if generation == ring.active && ring.keys.get(&generation).map(Key::digest) != Some(key.digest())
            {
                return Err(Fault::found(format!(
                    "cluster key {generation} is in use and cannot be replaced"
                )));
            }
            ring.keys.insert(generation, key);
            Ok(())
        })
    }

    /// From now on seals are made under `generation`.
    pub fn activate(&self, generation: Generation) -> Result<(), Fault> {
        self.change(|ring| {
            if !ring.keys.contains_key(&generation) {
                return Err(Fault::found(format!("cluster key {generation} is not held here")));
            }
            ring.active = generation;
            Ok(())
        })
    }

    /// Forgets every generation below the active one: what only they open is lost.
    pub fn retire(&self) -> Result<(), Fault> {
        self.change(|ring| {
            ring.keys = ring.keys.split_off(&ring.active);
            Ok(())
        })
    }

    /// The change is kept before it holds.
    fn change(&self, change: impl FnOnce(&mut Ring) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = ring.clone();
        change(&mut fresh)?;
        if let Some(keep) = &self.keep {
            keep.keep(&fresh.bundle()?)?;
        }
        *ring = fresh;
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn bundle(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let keys = self.keys.iter().map(|(generation, key)| (*generation, to_hex(&key.raw))).collect();
        let bundle = Bundle { mac: to_hex(&self.mac), active: self.active, keys };
        let text = serde_json::to_vec(&bundle).map_err(|error| Fault::new("write the keyring", error))?;
        Ok(Zeroizing::new(text))
    }
}

impl Key {
    fn new(raw: Zeroizing<Vec<u8>>) -> Result<Self, Fault> {
        let key = UnboundKey::new(&AES_256_GCM, &raw)
            .map_err(|_| Fault::found("the cluster key is not 32 bytes long"))?;
        Ok(Self { raw, cipher: Arc::new(LessSafeKey::new(key)) })
    }

    fn digest(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.raw);
        to_hex(hmac::sign(&key, b"cluster-key-digest").as_ref().get(..8).unwrap_or_default())
    }
}

/// The generation that made a seal.
pub fn generation_of(sealed: &[u8]) -> Option<Generation> {
    sealed.first_chunk::<GENERATION_BYTES>().map(|bytes| Generation::from_be_bytes(*bytes))
}

fn draw<const N: usize>(random: &SystemRandom) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| Fault::found("the system gave no random bytes"))?;
    Ok(bytes)
}

fn context(file: FileId) -> String {
    format!("file-key:{file}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernel::OrgId;

    const FILE: FileId = OrgId(uuid::Uuid::from_u128(7));

    #[test]
    fn a_wrapped_key_opens_for_its_own_file_and_cluster_only() {
        let here = Keyring::from_raw(vec![1; 32]).unwrap();
        let elsewhere = Keyring::from_raw(vec![2; 32]).unwrap();
        let wrapped = here.mint(FILE).unwrap();
        assert!(here.unwrap_key(FILE, &wrapped).is_ok());
        assert!(here.unwrap_key(OrgId::SYSTEM, &wrapped).is_err());
        assert!(elsewhere.unwrap_key(FILE, &wrapped).is_err());
    }

    #[test]
    fn an_older_generation_opens_what_it_sealed_until_it_is_retired() {
        let ring = Keyring::create().unwrap();
        let old = ring.mint(FILE).unwrap();
        ring.learn(2, Zeroizing::new(vec![2; 32])).unwrap();
        assert_eq!(
            generation_of(&from_hex(&ring.mint(FILE).unwrap().0).unwrap()),
            Some(1),
            "learnt, not active"
        );
        ring.activate(2).unwrap();
        let key = ring.unwrap_key(FILE, &old).unwrap();
        let new = ring.wrap(FILE, &key).unwrap();
        ring.retire().unwrap();
        assert!(ring.unwrap_key(FILE, &old).unwrap_err().to_string().contains("cluster key 1"));
        assert_eq!(ring.unwrap_key(FILE, &new).unwrap(), key);
        let again = Keyring::from_bundle(&ring.bundle().unwrap()).unwrap();
        assert_eq!(again.unwrap_key(FILE, &new).unwrap(), key);
        assert_eq!(again.fingerprint(&[b"x"]), ring.fingerprint(&[b"x"]));
    }

    #[test]
    fn what_is_sealed_for_life_opens_after_rotations_here_and_nowhere_else() {
        let ring = Keyring::create().unwrap();
        let sealed = ring.seal_for_life("a", b"secret").unwrap();
        ring.learn(2, Zeroizing::new(vec![2; 32])).unwrap();
        ring.activate(2).unwrap();
        ring.retire().unwrap();
        assert_eq!(ring.unseal_for_life("a", &sealed).unwrap().as_slice(), b"secret");
        let joiner = Keyring::from_bundle(&ring.bundle().unwrap()).unwrap();
        assert_eq!(joiner.unseal_for_life("a", &sealed).unwrap().as_slice(), b"secret");
        assert!(ring.unseal_for_life("b", &sealed).is_err());
        assert!(Keyring::create().unwrap().unseal_for_life("a", &sealed).is_err());
        assert!(ring.unseal_for_life("a", b"short").is_err());
    }

    #[test]
    fn a_key_in_use_is_not_replaced_and_an_unknown_one_not_activated() {
        let ring = Keyring::create().unwrap();
        assert!(ring.learn(1, Zeroizing::new(vec![9; 32])).is_err());
        assert!(ring.activate(2).is_err());
    }
}
