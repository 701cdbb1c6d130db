//! The vault of a lineage: what opens its images, and the recovery key, which opens the vault.
//!
//! It is the one object of a lineage that changes. It holds the cluster's keyring, sealed under the recovery key, with
//! generations that the cluster has forgotten unless that was to erase somebody, and the wrapped keys of every file that lives: whoever has the bucket alone opens nothing, and what has left the vault
//! opens for nobody.

use std::{collections::BTreeMap, fmt, str::FromStr};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    kernel::{Fault, FileId, from_hex, to_hex},
    store::{Generation, Keyring},
};

const PREFIX: &str = "tfr1";
const KEY_BYTES: usize = 32;
const CHECK_BYTES: usize = 4;

/// What an operator keeps outside, on paper or in a safe: without it and without a running node no backup opens.
///
/// As text it is `tfr1-` and nine groups of eight hexadecimal digits, of which the last tells a slip of the pen.
pub struct RecoveryKey(Zeroizing<[u8; KEY_BYTES]>);

impl RecoveryKey {
    /// Draws one.
    pub fn draw() -> Result<Self, Fault> {
        let mut raw = Zeroizing::new([0; KEY_BYTES]);
        let drawn = SystemRandom::new().fill(raw.as_mut_slice());
        drawn.map_err(|_| Fault::found("the system gave no random bytes"))?;
        Ok(Self(raw))
    }

    /// The key itself, to be sealed.
    pub fn raw(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// A key that was sealed.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        <[u8; KEY_BYTES]>::try_from(raw).ok().map(|raw| Self(Zeroizing::new(raw)))
    }

    /// The text, which is shown once.
    pub fn text(&self) -> Zeroizing<String> {
        let hex = Zeroizing::new(to_hex(self.raw()) + &to_hex(&check(self.raw())));
        let groups = hex.as_bytes().chunks(8).map(String::from_utf8_lossy);
        Zeroizing::new(groups.fold(PREFIX.to_owned(), |text, group| text + "-" + &group))
    }

    fn cipher(&self) -> Result<LessSafeKey, Fault> {
        let key =
            UnboundKey::new(&AES_256_GCM, self.raw()).map_err(|_| Fault::found("make a recovery key"))?;
        Ok(LessSafeKey::new(key))
    }
}

impl FromStr for RecoveryKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|sign| !sign.is_whitespace() && *sign != '-').collect());
        let hex = plain.strip_prefix(PREFIX).ok_or("a recovery key begins with tfr1-")?;
        let bytes = Zeroizing::new(
            from_hex(&hex.to_ascii_lowercase()).ok_or("it holds what is no hexadecimal digit")?,
        );
        let (raw, told) = bytes.split_at_checked(KEY_BYTES).ok_or("it is too short")?;
        if told != check(raw).as_slice() {
            return Err("a sign of it is wrong or missing: its last group does not fit the others");
        }
        Self::from_raw(raw).ok_or("it is too short")
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RecoveryKey(…)")
    }
}

fn check(raw: &[u8]) -> Vec<u8> {
    let digest = digest(&SHA256, &[b"threatflow recovery key".as_slice(), raw].concat());
    digest.as_ref().get(..CHECK_BYTES).unwrap_or_default().to_vec()
}

/// The vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Of which history.
    pub lineage: Uuid,
    /// The keyring, sealed under the recovery key (hexadecimal).
    keyring: String,
    /// The generations of the cluster key that the keyring holds.
    pub generations: Vec<u32>,
    /// The wrapped keys of each file: the lines of its key file, those of former keys too.
    pub files: BTreeMap<FileId, String>,
}

impl Vault {
    /// Seals the keyring as it is now, with the generations from `from` on that `former`, an earlier vault's, holds beside
    /// them: what lies in the archive may need them.
    pub fn seal(
        lineage: Uuid,
        keyring: &Keyring,
        recovery: &RecoveryKey,
        files: BTreeMap<FileId, String>,
        (former, from): (Option<&Keyring>, Generation),
    ) -> Result<Self, Fault> {
        let bundle = former.map_or_else(|| keyring.bundle(), |former| keyring.bundle_with(former, from))?;
        let generations = Keyring::from_bundle(&bundle)?.generations().into_keys().collect();
        let nonce = keyring.draw::<NONCE_LEN>()?;
        let mut sealed = bundle.to_vec();
        let done = recovery.cipher()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context(lineage)),
            &mut sealed,
        );
        done.map_err(|_| Fault::found("seal the keyring for the vault"))?;
        let keyring_sealed = to_hex(&[nonce.as_slice(), &sealed].concat());
        Ok(Self { lineage, keyring: keyring_sealed, generations, files })
    }

    /// The keyring; `None` when the recovery key is another.
    pub fn open(&self, recovery: &RecoveryKey) -> Option<Keyring> {
        let sealed = from_hex(&self.keyring)?;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from(context(self.lineage));
        let plain = recovery.cipher().ok()?.open_in_place(nonce, aad, &mut body).ok()?.len();
        Keyring::from_bundle(body.get(..plain)?).ok()
    }
}

fn context(lineage: Uuid) -> String {
    format!("threatflow backup keyring {lineage}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::kernel::OrgId;

    #[test]
    fn a_recovery_key_reads_back_and_a_slip_of_the_pen_is_told() {
        let key = RecoveryKey::draw().unwrap();
        let text = key.text().to_string();
        assert_eq!(text.parse::<RecoveryKey>().unwrap().raw(), key.raw());
        let typed = format!(" {} \n", text.to_uppercase().replace("TFR1", "tfr1").replace('-', " "));
        assert_eq!(typed.parse::<RecoveryKey>().unwrap().raw(), key.raw());
        for at in 5..text.len() {
            let mut slip: Vec<char> = text.chars().collect();
            if slip[at] == '-' {
                continue;
            }
            slip[at] = if slip[at] == '0' { '1' } else { '0' };
            assert!(slip.iter().collect::<String>().parse::<RecoveryKey>().is_err(), "at {at}");
        }
        assert!(text[..text.len() - 9].parse::<RecoveryKey>().is_err());
        assert!(!format!("{key:?}").contains(&text[5..13]));
    }

    #[test]
    fn the_vault_opens_for_its_recovery_key_alone_and_keeps_the_keyring() {
        let ring = Keyring::create().unwrap();
        let (key, other) = (RecoveryKey::draw().unwrap(), RecoveryKey::draw().unwrap());
        let wrapped = ring.mint(OrgId::SYSTEM).unwrap();
        let files = BTreeMap::from([(OrgId::SYSTEM, format!("key 1 2 {}\n", wrapped.0))]);
        let vault = Vault::seal(Uuid::from_u128(3), &ring, &key, files, (None, 1)).unwrap();
        let text = serde_json::to_string(&vault).unwrap();
        let again: Vault = serde_json::from_str(&text).unwrap();
        let opened = again.open(&key).unwrap();
        assert_eq!(
            opened.unwrap_key(OrgId::SYSTEM, &wrapped).unwrap(),
            ring.unwrap_key(OrgId::SYSTEM, &wrapped).unwrap()
        );
        assert!(again.open(&other).is_none());
        let moved = Vault { lineage: Uuid::from_u128(4), ..again };
        assert!(moved.open(&key).is_none());
    }

    #[test]
    fn a_generation_that_the_cluster_forgets_stays_in_the_vault_from_where_it_may() {
        let (ring, key) = (Keyring::create().unwrap(), RecoveryKey::draw().unwrap());
        let seal = |former: Option<&Keyring>, from| {
            let vault = Vault::seal(Uuid::nil(), &ring, &key, BTreeMap::new(), (former, from)).unwrap();
            let opened = vault.open(&key).unwrap();
            assert_eq!(opened.generations().into_keys().collect::<Vec<_>>(), vault.generations);
            assert_eq!(opened.active(), ring.active());
            opened
        };
        let first = seal(None, 1);
        for generation in [2, 3] {
            ring.learn(generation, vec![u8::try_from(generation).unwrap(); 32].into()).unwrap();
            ring.activate(generation).unwrap();
        }
        let wrapped = first.mint(OrgId::SYSTEM).unwrap();
        let all = seal(Some(&first), 1);
        ring.retire().unwrap();
        assert_eq!(seal(Some(&all), 1).generations().len(), 3);
        assert!(seal(Some(&all), 1).unwrap_key(OrgId::SYSTEM, &wrapped).is_ok());
        // What was erased while the first was in force must open for nobody.
        let kept = seal(Some(&all), 2);
        assert_eq!(kept.generations().into_keys().collect::<Vec<_>>(), [2, 3]);
        assert!(kept.unwrap_key(OrgId::SYSTEM, &wrapped).is_err());
        assert_eq!(seal(Some(&all), Generation::MAX).generations().into_keys().collect::<Vec<_>>(), [3]);
    }
}
