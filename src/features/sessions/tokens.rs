//! Access tokens: EdDSA JWTs over a ring-backed provider, verified once and remembered.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Signer, Verifier},
};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

use crate::kernel::{Fault, Millis, OrgId, SessionId, UserId};

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
}

/// Signs and verifies the cluster's tokens.
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

const ISSUER: &str = "threatflow";
const AUDIENCE: &str = "threatflow-api";

/// How long an access token lasts.
pub const TOKEN_SECONDS: i64 = 600;

/// Draws a signing key (PKCS#8), to be sealed before it goes anywhere.
pub fn mint_signing_key() -> Result<Vec<u8>, Fault> {
    let drawn = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    drawn.map(|key| key.as_ref().to_vec()).map_err(|_| Fault::found("the system gave no random bytes"))
}

impl Tokens {
    /// Takes the cluster's signing key (PKCS#8).
    pub fn new(pkcs8: &[u8]) -> Result<Self, Fault> {
        install_provider();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .map_err(|error| Fault::found(format!("the token signing key is not usable: {error}")))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 5;
        let verify = DecodingKey::from_ed_der(pair.public_key().as_ref());
        Ok(Self { sign: EncodingKey::from_ed_der(pkcs8), verify, validation })
    }

    /// A token for a session.
    pub fn issue(&self, org: OrgId, user: UserId, session: SessionId, now: Millis) -> Result<String, Fault> {
        let iat = now.0.div_euclid(1000);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            org,
            sid: session,
            jti: uuid::Uuid::now_v7().to_string(),
            iat,
            exp: iat + TOKEN_SECONDS,
        };
        let header = Header { typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.sign).map_err(|error| Fault::new("sign a token", error))
    }

    /// What a token says, if it is one of ours and has not ended.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let read = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation).ok()?;
        (read.header.typ.as_deref() == Some("at+jwt")).then_some(read.claims)
    }
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
    // Only JWKs made from private keys ask for these; ours will be made from public ones.
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
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn issue(tokens: &Tokens, now: Millis) -> String {
        let id = Uuid::now_v7();
        tokens.issue(OrgId(id), UserId(id), SessionId(id), now).unwrap()
    }

    #[test]
    fn a_token_is_read_by_the_cluster_that_issued_it_and_by_no_other() {
        let ours = Tokens::new(&mint_signing_key().unwrap()).unwrap();
        let theirs = Tokens::new(&mint_signing_key().unwrap()).unwrap();
        let token = issue(&ours, crate::web::now());
        assert!(ours.verify(&token).is_some());
        assert!(theirs.verify(&token).is_none());
    }

    #[test]
    fn an_ended_a_truncated_and_an_unsigned_token_are_refused() {
        let tokens = Tokens::new(&mint_signing_key().unwrap()).unwrap();
        let now = crate::web::now();
        assert!(tokens.verify(&issue(&tokens, now.plus(-700_000))).is_none());
        let token = issue(&tokens, now);
        assert!(tokens.verify(&token[..token.len() - 2]).is_none());
        let mut parts = token.split('.');
        let (_, claims) = (parts.next(), parts.next().unwrap());
        // {"typ":"at+jwt","alg":"none"}
        assert!(tokens.verify(&format!("eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJub25lIn0.{claims}.")).is_none());
    }
}
