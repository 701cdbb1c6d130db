//! The vault: the keyring as it lies in the data folder, and what opens it.
//!
//! Words: a *seal* is what opens the vault: a file or a credential with a key, or a passphrase; it lies outside the
//! data folder, so a copy of the folder opens nothing. With no seal configured the keyring lies there open, which is
//! for trying the product: `threatflow doctor` and the status say so.
//!
//! `cluster.key` is JSON: which seal it is under, what a passphrase is stretched with, and the keyring, sealed with
//! AES-256-GCM (hexadecimal). It changes when the cluster's keys rotate; the seal is the operator's and stays.

mod seal;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
pub use seal::Seal;
use seal::{Opener, Stretch};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Failure;
use crate::{
    kernel::{Fault, from_hex, to_hex},
    store::{Keep, read_if_present, write_secret},
};

const FORMAT: u32 = 1;
const CONTEXT: &[u8] = b"threatflow keyring";

/// An open vault.
pub(super) struct Vault {
    path: PathBuf,
    name: &'static str,
    stretch: Option<Stretch>,
    opener: Option<Opener>,
}

/// A vault with what was in it.
type Opened = (Vault, Zeroizing<Vec<u8>>);

/// The file.
#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    seal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stretch: Option<Stretch>,
    keyring: String,
}

impl Vault {
    /// A vault for a new keyring: it is written by [`Keep::keep`].
    pub(super) fn create(path: &Path, seal: &Seal) -> Result<Self, Failure> {
        let stretch = seal.stretch()?;
        let opener = seal.opener(stretch.as_ref())?;
        Ok(Self { path: path.to_owned(), name: seal.name(), stretch, opener })
    }

    /// Opens the vault at `path`; `None` when there is none. One that lies open is put under the seal.
    pub(super) fn open(path: &Path, seal: &Seal) -> Result<Option<Opened>, Failure> {
        let Some(text) = read_if_present(path)?.map(Zeroizing::new) else { return Ok(None) };
        closed_to_others(path)?;
        let shown = path.display();
        let contents: Contents = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("{shown} is damaged: {error}"), "restore it from a copy of this node's data")
        })?;
        let under = contents.seal.as_str();
        if under == Seal::DataDir.name() {
            let bundle = bytes(&contents.keyring, path)?;
            let vault = Self::create(path, seal)?;
            if *seal != Seal::DataDir {
                vault.keep(&bundle)?;
                tracing::info!(
                    seal = seal.name(),
                    "the keyring lay open in the data folder and is sealed now"
                );
            }
            return Ok(Some((vault, bundle)));
        }
        if under != seal.name() {
            let what = format!("{shown} is sealed by a {under}, and the configuration says seal = {seal}");
            let fix = "correct `seal`, or change the seal with `threatflow seal --to ...` under the old configuration";
            return Err(Failure::new(what, fix));
        }
        let opener = seal.opener(contents.stretch.as_ref())?;
        let sealed = bytes(&contents.keyring, path)?;
        let wrong = || {
            let what = format!("the {under} does not open {shown}");
            Failure::new(what, "give the one it was sealed with; nobody can open it without")
        };
        let bundle = opener.as_ref().and_then(|opener| opener.open(&sealed)).ok_or_else(wrong)?;
        let vault = Self { path: path.to_owned(), name: seal.name(), stretch: contents.stretch, opener };
        Ok(Some((vault, bundle)))
    }
}

impl Keep for Vault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn keep(&self, bundle: &[u8]) -> Result<(), Fault> {
        let keyring = match &self.opener {
            None => to_hex(bundle),
            Some(opener) => to_hex(&opener.seal(bundle)?),
        };
        let stretch = self.stretch.clone();
        let contents = Contents { format: FORMAT, seal: self.name.to_owned(), stretch, keyring };
        let text = serde_json::to_vec(&contents).map_err(|error| Fault::new("write the keyring", error))?;
        write_secret(&self.path, &Zeroizing::new(text))
    }
}

impl Opener {
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Fault::found("the system gave no random bytes"))?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let done = self.cipher()?.seal_in_place_append_tag(unique, Aad::from(CONTEXT), &mut sealed);
        done.map_err(|_| Fault::found("seal the keyring"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self.cipher().ok()?.open_in_place(nonce, Aad::from(CONTEXT), &mut body).ok()?.len();
        body.truncate(plain);
        Some(body)
    }

    fn cipher(&self) -> Result<LessSafeKey, Fault> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice());
        key.map(LessSafeKey::new).map_err(|_| Fault::found("make a sealing key"))
    }
}

/// How the vault at `path` is sealed, for whoever looks at a node from outside.
pub(super) fn sealed_by(path: &Path) -> Option<String> {
    let contents: Contents = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(contents.seal)
}

fn bytes(text: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let damaged = || Failure::new(format!("{} is damaged", path.display()), "restore it from a copy");
    from_hex(text).map(Zeroizing::new).ok_or_else(damaged)
}

/// Refuses what opens files if others may read it.
fn closed_to_others(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let Ok(about) = fs::metadata(path) else { return Ok(()) };
    let mode = about.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let what = format!("{shown} opens every file of the cluster and others may read it (mode {mode:04o})");
    Err(Failure::new(what, format!("run `chmod 600 {shown}`")))
}

#[cfg(test)]
mod tests;
