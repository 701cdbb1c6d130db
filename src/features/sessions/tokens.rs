//! Access tokens: EdDSA JWTs (RFC 9068) over a ring-backed provider, and the set of keys they are signed with.

use std::{collections::BTreeMap, sync::Once};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer, Verifier},
};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::{KeyState, NewKey, TOKEN_SECONDS};
use crate::{
    kernel::{Fault, Millis, OrgId, SessionId, UserId, to_hex},
    store::Keyring,
};

/// What a token says. No permissions: they are looked up when used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Who may accept it.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The user's organization.
    pub org: OrgId,
    /// The session.
    pub sid: SessionId,
    /// Id of the token.
    pub jti: String,
    /// When it was issued, in seconds.
    pub iat: i64,
    /// When it ends, in seconds.
    pub exp: i64,
    /// When the user proved who it is, in seconds.
    pub auth_time: i64,
    /// How: words of RFC 8176.
    pub amr: Vec<String>,
}

/// The audience of every token: this API.
pub const AUDIENCE: &str = "threatflow-api";
/// What the header says a token is.
const TYPE: &str = "at+jwt";
/// Ours have some 600 bytes: what is longer is not looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 2048;
/// How long a token is good after its end, in seconds.
const LEEWAY: i64 = 5;
/// How far the clock of the node that issued it may be ahead of this one's, in seconds. What is issued in a further future was
/// not issued by a node whose clock anybody looks after.
const AHEAD: i64 = 60;

/// The keys of a cluster, as one node knows them.
pub struct KeySet {
    validation: Validation,
    issuer: String,
    keys: BTreeMap<String, Public>,
    signer: Option<(String, EncodingKey)>,
}

struct Public {
    state: KeyState,
    raw: Vec<u8>,
    verify: DecodingKey,
}

impl KeySet {
    /// A set without keys, for tokens of this issuer.
    pub fn new(issuer: &str) -> Self {
        install_provider();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.unsigned_abs();
        Self { validation, issuer: issuer.to_owned(), keys: BTreeMap::new(), signer: None }
    }

    /// The set with one more key; of the one that signs, the whole (PKCS#8).
    #[must_use]
    pub fn with(mut self, kid: &str, public: &[u8], state: KeyState, pkcs8: Option<&[u8]>) -> Self {
        let verify = DecodingKey::from_ed_der(public);
        self.keys.insert(kid.to_owned(), Public { state, raw: public.to_vec(), verify });
        if let Some(pkcs8) = pkcs8 {
            self.signer = Some((kid.to_owned(), EncodingKey::from_ed_der(pkcs8)));
        }
        self
    }

    /// Whether it can sign.
    pub fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// Whether it has a key of this name.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Name and state of every key.
    pub fn states(&self) -> Vec<(&str, KeyState)> {
        self.keys.iter().map(|(kid, key)| (kid.as_str(), key.state)).collect()
    }

    /// A token.
    pub fn sign(&self, claims: &Claims) -> Result<String, Fault> {
        self.sign_as(TYPE, claims)
    }

    /// Other claims, as a token that says it is of another type: whoever takes it for an access token looks wrong.
    pub fn sign_as(&self, typ: &str, claims: &impl Serialize) -> Result<String, Fault> {
        let (kid, key) = self.signer.as_ref().ok_or_else(|| Fault::found("no key signs tokens"))?;
        let header =
            Header { typ: Some(typ.to_owned()), kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, key).map_err(|error| Fault::new("sign a token", error))
    }

    /// The claims of a token that is issued now.
    pub fn claims(&self, of: (OrgId, UserId, SessionId), auth: (Millis, &[String]), now: Millis) -> Claims {
        let iat = now.0.div_euclid(1000);
        let ((org, sub, sid), (auth_time, amr)) = (of, auth);
        Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub,
            org,
            sid,
            jti: uuid::Uuid::now_v7().to_string(),
            iat,
            exp: iat + TOKEN_SECONDS,
            auth_time: auth_time.0.div_euclid(1000),
            amr: amr.to_vec(),
        }
    }

    /// What a token says, if a key of this set signed it and it has not ended. The key is found by its name; nothing
    /// else in the header is believed.
    pub fn verify(&self, token: &str, now: Millis) -> Option<Claims> {
        let kid = kid(token)?;
        let key = self.keys.get(&kid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verify, &self.validation).ok()?.claims;
        let seconds = now.0.div_euclid(1000);
        let sound = claims.iat <= seconds + AHEAD
            && claims.iat <= claims.exp
            && claims.exp <= claims.iat.saturating_add(TOKEN_SECONDS);
        sound.then_some(claims)
    }

    /// The set as others read it (RFC 7517): public halves alone.
    pub fn published(&self) -> Value {
        let key = |(kid, key): (&String, &Public)| {
            let x = URL_SAFE_NO_PAD.encode(&key.raw);
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x })
        };
        json!({ "keys": self.keys.iter().map(key).collect::<Vec<_>>() })
    }
}

/// The name of the key that a token says it is signed with; none when it is no access token of ours by its looks.
pub(super) fn kid(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    install_provider();
    let header = jsonwebtoken::decode_header(token).ok()?;
    let ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TYPE) && header.crit.is_none();
    header.kid.filter(|_| ours)
}

/// Draws a signing key and seals it, so that it may go into the log.
pub fn draw_key(keyring: &Keyring) -> Result<NewKey, Fault> {
    let drawn = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let pkcs8 = drawn.map_err(|_| Fault::found("the system gave no random bytes"))?;
    let pkcs8 = zeroize::Zeroizing::new(pkcs8.as_ref().to_vec());
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8)
        .map_err(|error| Fault::found(format!("a signing key that was just drawn is not usable: {error}")))?;
    let public = pair.public_key().as_ref();
    let kid = thumbprint(public);
    let sealed = keyring.seal(&seal_context(&kid), &pkcs8)?;
    Ok(NewKey { public: to_hex(public), sealed: to_hex(&sealed), kid })
}

/// The thumbprint of RFC 7638 (and RFC 8037).
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let text = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// What a sealed signing key is bound to.
pub(super) fn seal_context(kid: &str) -> String {
    format!("signing-key:{kid}")
}

struct Sign(Ed25519KeyPair);

impl Signer<Vec<u8>> for Sign {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Sign {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Verify(UnparsedPublicKey<Vec<u8>>);

impl Verifier<Vec<u8>> for Verify {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.verify(message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verify {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

/// EdDSA alone: a token that names another algorithm finds no verifier.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        require_eddsa(*algorithm)?;
        let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes())
            .map_err(|_| Error::from(ErrorKind::InvalidEddsaKey))?;
        Ok(Box::new(Sign(pair)))
    },
    verifier_factory: |algorithm, key| {
        require_eddsa(*algorithm)?;
        Ok(Box::new(Verify(UnparsedPublicKey::new(&ED25519, key.try_get_as_bytes()?.to_vec()))))
    },
    // Only JWKs made from private keys ask for these; ours are made from public ones.
    key_utils: KeyUtils::new_unimplemented(),
};

fn require_eddsa(algorithm: Algorithm) -> Result<(), Error> {
    if algorithm == Algorithm::EdDSA { Ok(()) } else { Err(ErrorKind::InvalidAlgorithm.into()) }
}

fn install_provider() {
    static ONCE: Once = Once::new();
    // Refused only if it is installed already, by us.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

#[cfg(test)]
mod tests;
