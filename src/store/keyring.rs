//! Keys: the cluster key wraps one raw data key per file, and seals the cluster's other secrets.

use std::path::Path;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::durable::{read_if_present, write_secret};
use crate::kernel::{Fault, FileId, from_hex, to_hex};

/// A data key as it may be stored and replicated: sealed under the cluster key, bound to its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKey(pub String);

/// Holds the cluster key.
pub struct Keyring {
    cluster: LessSafeKey,
    raw: Zeroizing<Vec<u8>>,
    random: SystemRandom,
}

impl Keyring {
    const KEY_BYTES: usize = 32;

    /// Reads the cluster key from `path`; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, Fault> {
        let Some(text) = read_if_present(path)? else { return Ok(None) };
        let text = Zeroizing::new(text);
        let raw = std::str::from_utf8(&text).ok().and_then(|text| from_hex(text.trim()));
        let raw =
            raw.ok_or_else(|| Fault::found(format!("{}: not 64 hexadecimal digits", path.display())))?;
        Self::from_raw(raw).map(Some)
    }

    /// Draws a new cluster key and writes it to `path`, mode 0600.
    pub fn create(path: &Path) -> Result<Self, Fault> {
        let mut raw = vec![0; Self::KEY_BYTES];
        SystemRandom::new().fill(&mut raw).map_err(|_| Fault::found("the system gave no random bytes"))?;
        let keyring = Self::from_raw(raw)?;
        keyring.save(path)?;
        Ok(keyring)
    }

    /// Takes a cluster key that a peer handed over.
    pub fn from_raw(raw: Vec<u8>) -> Result<Self, Fault> {
        let key = UnboundKey::new(&AES_256_GCM, &raw)
            .map_err(|_| Fault::found("the cluster key is not 32 bytes long"))?;
        Ok(Self { cluster: LessSafeKey::new(key), raw: Zeroizing::new(raw), random: SystemRandom::new() })
    }

    /// Writes the cluster key to `path`, mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), Fault> {
        write_secret(path, format!("{}\n", to_hex(&self.raw)).as_bytes())
    }

    /// The raw cluster key, for a node that has been admitted.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Random bytes for the edge: ids, salts, keys.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| Fault::found("the system gave no random bytes"))?;
        Ok(bytes)
    }

    /// Draws and wraps a data key for `file`.
    pub fn mint(&self, file: FileId) -> Result<WrappedKey, Fault> {
        let key = Zeroizing::new(self.draw::<{ Self::KEY_BYTES }>()?);
        Ok(WrappedKey(to_hex(&self.seal(&context(file), key.as_slice())?)))
    }

    /// The raw data key of `file`.
    pub fn unwrap_key(&self, file: FileId, wrapped: &WrappedKey) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let broken = || Fault::found(format!("the key of file {file} does not open under this cluster key"));
        let sealed = from_hex(&wrapped.0).ok_or_else(broken)?;
        let raw = Zeroizing::new(self.unseal(&context(file), &sealed)?);
        <[u8; 32]>::try_from(raw.as_slice()).map(Zeroizing::new).map_err(|_| broken())
    }

    /// A digest of `parts` that only this cluster can compute: what is hashed may hold a password.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.raw), b"request-fingerprint");
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        to_hex(mac.sign().as_ref().get(..16).unwrap_or_default())
    }

    /// Seals `plain` so that it opens only under this cluster key and the same `context`.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let nonce = self.draw::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        self.cluster
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Fault::found(format!("sealing {context} failed")))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Keyring::seal`] sealed.
    pub fn unseal(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let broken = || Fault::found(format!("{context} does not open under this cluster key"));
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self.cluster.open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| broken())?;
        Ok(plain.to_vec())
    }
}

fn context(file: FileId) -> String {
    format!("file-key:{file}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernel::OrgId;

    #[test]
    fn a_wrapped_key_opens_for_its_own_file_and_cluster_only() {
        let here = Keyring::from_raw(vec![1; 32]).unwrap();
        let elsewhere = Keyring::from_raw(vec![2; 32]).unwrap();
        let file = OrgId(uuid::Uuid::from_u128(7));
        let wrapped = here.mint(file).unwrap();
        assert!(here.unwrap_key(file, &wrapped).is_ok());
        assert!(here.unwrap_key(OrgId::SYSTEM, &wrapped).is_err());
        assert!(elsewhere.unwrap_key(file, &wrapped).is_err());
    }
}
