//! Refresh tokens as text: `tfr_` and base64url of organization, session, secret and a MAC.
//!
//! The MAC says that this cluster issued it, so garbage is refused without a look and ends nobody's session. The secret of
//! a successor follows from its predecessor's, by a key of the cluster: whoever presents a token is answered the same
//! successor on any node and however often, and no plaintext is ever kept for that. Files hold digests alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::{
    kernel::{Fault, OrgId, Secret, SessionId, to_hex},
    store::Keyring,
};

/// What every refresh token begins with.
pub const PREFIX: &str = "tfr_";

const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 16;

/// A refresh token that this cluster issued, good or used up.
pub struct RefreshToken {
    /// Whose file the session is in.
    pub organization: OrgId,
    /// The session.
    pub session: SessionId,
    secret: Secret<[u8; SECRET_BYTES]>,
}

impl RefreshToken {
    /// The first one of a session.
    pub fn draw(keyring: &Keyring, organization: OrgId, session: SessionId) -> Result<Self, Fault> {
        Ok(Self { organization, session, secret: Secret::new(keyring.draw()?) })
    }

    /// Reads a token; `None` when this cluster did not issue it.
    pub fn parse(keyring: &Keyring, text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|encoded| encoded.len() <= 128)?;
        let bytes = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        let (organization, rest) = bytes.split_first_chunk::<16>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (secret, mac) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let token = Self {
            organization: OrgId(Uuid::from_bytes(*organization)),
            session: SessionId(Uuid::from_bytes(*session)),
            secret: Secret::new(*secret),
        };
        // Their digests: how far two of them agree tells nothing about what was digested.
        let same = digest(&SHA256, &token.mac(keyring)).as_ref() == digest(&SHA256, mac).as_ref();
        same.then_some(token)
    }

    /// As its holder gets it.
    pub fn text(&self, keyring: &Keyring) -> String {
        let (organization, session) = (self.organization.0.as_bytes(), self.session.0.as_bytes());
        let bytes = [organization, session, self.secret.reveal().as_slice(), &self.mac(keyring)].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(zeroize::Zeroizing::new(bytes)))
    }

    /// The token that follows it.
    #[must_use]
    pub fn successor(&self, keyring: &Keyring) -> Self {
        let secret = keyring.mac("refresh-successor", &self.parts());
        Self { organization: self.organization, session: self.session, secret: Secret::new(secret) }
    }

    /// SHA-256 of its secret (hexadecimal): what files know it by.
    pub fn digest(&self) -> String {
        to_hex(digest(&SHA256, self.secret.reveal()).as_ref())
    }

    /// Its secret under the cluster key (hexadecimal), for the answer to a repeated login.
    pub fn seal(&self, keyring: &Keyring) -> Result<String, Fault> {
        Ok(to_hex(&keyring.seal(&self.context(), self.secret.reveal())?))
    }

    /// Opens [`RefreshToken::seal`]; `None` when the cluster key that sealed it is gone.
    pub fn unseal(keyring: &Keyring, organization: OrgId, session: SessionId, sealed: &str) -> Option<Self> {
        let empty = Self { organization, session, secret: Secret::new([0; SECRET_BYTES]) };
        let secret = keyring.unseal(&empty.context(), &crate::kernel::from_hex(sealed)?).ok()?;
        Some(Self { secret: Secret::new(<[u8; SECRET_BYTES]>::try_from(secret.as_slice()).ok()?), ..empty })
    }

    fn context(&self) -> String {
        format!("refresh-token:{}:{}", self.organization, self.session)
    }

    fn mac(&self, keyring: &Keyring) -> [u8; MAC_BYTES] {
        let whole = keyring.mac("refresh-token", &self.parts());
        whole.first_chunk::<MAC_BYTES>().copied().unwrap_or_default()
    }

    fn parts(&self) -> [&[u8]; 3] {
        [self.organization.0.as_bytes(), self.session.0.as_bytes(), self.secret.reveal()]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn token(keyring: &Keyring) -> RefreshToken {
        RefreshToken::draw(keyring, OrgId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2))).unwrap()
    }

    #[test]
    fn a_token_is_read_by_its_own_cluster_only() {
        let (here, elsewhere) =
            (Keyring::from_raw(vec![1; 32]).unwrap(), Keyring::from_raw(vec![2; 32]).unwrap());
        let token = token(&here);
        let text = token.text(&here);
        let read = RefreshToken::parse(&here, &text).unwrap();
        assert_eq!(read.digest(), token.digest());
        assert_eq!((read.organization, read.session), (token.organization, token.session));
        assert!(RefreshToken::parse(&elsewhere, &text).is_none());
    }

    #[test]
    fn a_successor_is_the_same_wherever_it_is_asked_for_and_differs_from_its_predecessor() {
        let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
        let token = token(&keyring);
        let (one, two) = (token.successor(&keyring), token.successor(&keyring));
        assert_eq!(one.text(&keyring), two.text(&keyring));
        assert_ne!(one.digest(), token.digest());
        assert_ne!(one.successor(&keyring).digest(), one.digest());
    }

    #[test]
    fn every_changed_letter_makes_it_a_token_nobody_issued() {
        let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
        let text = token(&keyring).text(&keyring);
        for at in 0..text.len() {
            let mut letters = text.clone().into_bytes();
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(letters).unwrap();
            assert!(RefreshToken::parse(&keyring, &changed).is_none(), "letter {at}");
            assert!(RefreshToken::parse(&keyring, &text[..at]).is_none(), "cut at {at}");
        }
        for more in [format!("{text}A"), format!("{text}="), format!(" {text}"), text.to_uppercase()] {
            assert!(RefreshToken::parse(&keyring, &more).is_none(), "{more}");
        }
    }

    #[test]
    fn what_was_sealed_for_a_repeat_opens_for_the_same_session_only() {
        let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
        let token = token(&keyring);
        let sealed = token.seal(&keyring).unwrap();
        let open = |session| RefreshToken::unseal(&keyring, token.organization, session, &sealed);
        assert_eq!(open(token.session).unwrap().digest(), token.digest());
        assert!(open(SessionId(Uuid::from_u128(3))).is_none());
    }
}
