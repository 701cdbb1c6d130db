#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ring::hmac;
use uuid::Uuid;

use super::*;
use crate::kernel::from_hex;

const ISSUER: &str = "threatflow";

/// A key whose private half a test may use, and the set that holds it.
struct Signer {
    kid: String,
    pair: Ed25519KeyPair,
    set: KeySet,
    public: Vec<u8>,
}

fn signer() -> Signer {
    let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
    let key = draw_key(&keyring).unwrap();
    let pkcs8 = keyring.unseal(&seal_context(&key.kid), &from_hex(&key.sealed).unwrap()).unwrap();
    let public = from_hex(&key.public).unwrap();
    let set = KeySet::new(ISSUER).with(&key.kid, &public, KeyState::Active, Some(&pkcs8));
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
    Signer { kid: key.kid, pair, set, public }
}

impl Signer {
    fn claims(&self) -> Value {
        let id = Uuid::now_v7();
        let of = (OrgId(id), UserId(id), SessionId(id));
        json!(self.set.claims(of, (now(), &["pwd".to_owned()]), now()))
    }

    fn header(&self) -> Value {
        json!({ "typ": TYPE, "alg": "EdDSA", "kid": self.kid })
    }

    /// Signed by the right key, whatever it says.
    fn signed(&self, header: &str, claims: &str) -> String {
        let head = format!("{}.{}", encode(header), encode(claims));
        format!("{head}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(head.as_bytes())))
    }

    fn takes(&self, token: &str) -> bool {
        self.set.verify(token, now()).is_some()
    }

    /// Whether a token with this header or these claims changed is taken.
    fn takes_with(&self, in_header: &Value, in_claims: &Value) -> bool {
        let header = merged(self.header(), in_header).to_string();
        self.takes(&self.signed(&header, &merged(self.claims(), in_claims).to_string()))
    }
}

fn merged(mut whole: Value, patch: &Value) -> Value {
    for (name, value) in patch.as_object().unwrap() {
        let object = whole.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    whole
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn now() -> Millis {
    crate::web::now()
}

#[test]
fn a_token_is_read_by_the_cluster_that_issued_it_and_by_no_other() {
    let (ours, theirs) = (signer(), signer());
    let claims: Claims = serde_json::from_value(ours.claims()).unwrap();
    let token = ours.set.sign(&claims).unwrap();
    assert_eq!(ours.set.verify(&token, now()), Some(claims));
    assert!(!theirs.takes(&token));
}

#[test]
fn what_is_signed_by_the_right_key_is_taken_only_as_it_is_issued() {
    let signer = signer();
    let none = json!({});
    assert!(signer.takes_with(&none, &none), "the corpus begins with a good token");
    let headers = [
        json!({ "typ": "JWT" }),
        json!({ "typ": null }),
        json!({ "typ": "at+JWT;x" }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": null }),
        json!({ "kid": null }),
        json!({ "kid": "" }),
        json!({ "kid": "../../../etc/passwd" }),
        json!({ "kid": "' OR 1=1 --" }),
        json!({ "kid": "nobody's" }),
        json!({ "kid": 7 }),
        json!({ "crit": ["exp"] }),
    ];
    for header in headers {
        assert!(!signer.takes_with(&header, &none), "{header}");
    }
    let seconds = now().0 / 1000;
    let claims = [
        json!({ "iss": "somebody" }),
        json!({ "iss": null }),
        json!({ "aud": "another-api" }),
        json!({ "aud": null }),
        json!({ "sub": null }),
        json!({ "sub": "not-an-id" }),
        json!({ "org": null }),
        json!({ "sid": null }),
        json!({ "exp": seconds - 60, "iat": seconds - 600 }),
        json!({ "exp": null }),
        json!({ "exp": "never" }),
        json!({ "exp": seconds + 86_400 }),
        json!({ "iat": seconds + 120 }),
        json!({ "iat": seconds + 120, "exp": seconds + 240 }),
        json!({ "iat": null }),
        json!({ "nbf": seconds + 60 }),
        json!({ "auth_time": null }),
    ];
    for claims in claims {
        assert!(!signer.takes_with(&none, &claims), "{claims}");
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let (ours, theirs) = (signer(), signer());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&theirs.public) });
    let brought = [
        json!({ "jwk": jwk }),
        json!({ "jku": "https://attacker.example/jwks.json" }),
        json!({ "x5u": "https://attacker.example/cert.pem" }),
        json!({ "x5c": ["AAAA"] }),
    ];
    for header in brought {
        // Theirs, under the name of our key; and under the name of theirs.
        for kid in [&ours.kid, &theirs.kid] {
            let header = merged(merged(theirs.header(), &header), &json!({ "kid": kid }));
            let token = theirs.signed(&header.to_string(), &ours.claims().to_string());
            assert!(!ours.takes(&token), "{header}");
        }
    }
}

#[test]
fn a_public_key_used_as_a_shared_secret_signs_nothing() {
    let signer = signer();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64::engine::general_purpose::STANDARD
            .encode([&hex("302a300506032b6570032100"), signer.public.as_slice()].concat())
    );
    for secret in [signer.public.as_slice(), pem.as_bytes(), encode_raw(&signer.public).as_bytes()] {
        for algorithm in ["HS256", "EdDSA"] {
            let header = merged(signer.header(), &json!({ "alg": algorithm }));
            let head = format!("{}.{}", encode(&header.to_string()), encode(&signer.claims().to_string()));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), head.as_bytes());
            assert!(!signer.takes(&format!("{head}.{}", URL_SAFE_NO_PAD.encode(mac))), "{algorithm}");
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    from_hex(text).unwrap()
}

fn encode_raw(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn unsigned_truncated_and_changed_tokens_are_refused() {
    let signer = signer();
    let token = signer.signed(&signer.header().to_string(), &signer.claims().to_string());
    let parts: Vec<&str> = token.split('.').collect();
    let none = encode(r#"{"typ":"at+jwt","alg":"none"}"#);
    let forms = [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}.{}", parts[2]),
        format!(" {token}"),
        format!("{token}="),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
    ];
    for form in forms {
        assert!(!signer.takes(&form), "{form}");
    }
    for at in 0..token.len() {
        assert!(!signer.takes(&token[..at]), "cut at {at}");
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(!signer.takes(&changed), "bit {bit} of letter {at}");
        }
    }
}

#[test]
fn claims_and_headers_that_come_twice_are_refused() {
    let signer = signer();
    let (header, claims) = (signer.header().to_string(), signer.claims().to_string());
    let twice = |text: &str, more: &str| format!("{},{more}}}", text.trim_end_matches('}'));
    let other = Uuid::now_v7();
    for more in
        [format!("\"sub\":\"{other}\""), format!("\"org\":\"{other}\""), "\"exp\":9999999999".to_owned()]
    {
        assert!(!signer.takes(&signer.signed(&header, &twice(&claims, &more))), "{more}");
    }
    for more in ["\"alg\":\"EdDSA\"".to_owned(), format!("\"kid\":\"{}\"", signer.kid)] {
        assert!(!signer.takes(&signer.signed(&twice(&header, &more), &claims)), "{more}");
    }
}

#[test]
fn a_huge_token_is_not_looked_at() {
    let signer = signer();
    let amr = vec!["pwd"; TOKEN_BYTES_MAX];
    assert!(!signer.takes_with(&json!({}), &json!({ "amr": amr })));
    assert!(!signer.takes(&"a.".repeat(1 << 20)));
}

#[test]
fn what_a_retired_key_signed_is_good_and_what_a_forgotten_one_signed_is_not() {
    let (old, new) = (signer(), signer());
    let token = old.signed(&old.header().to_string(), &old.claims().to_string());
    let both = KeySet::new(ISSUER).with(&old.kid, &old.public, KeyState::Retired, None).with(
        &new.kid,
        &new.public,
        KeyState::Active,
        None,
    );
    assert!(both.verify(&token, now()).is_some());
    assert_eq!(both.published()["keys"].as_array().unwrap().len(), 2);
    // Under the name of the other key it is nothing.
    let header = merged(old.header(), &json!({ "kid": new.kid }));
    assert!(both.verify(&old.signed(&header.to_string(), &old.claims().to_string()), now()).is_none());
    let one = KeySet::new(ISSUER).with(&new.kid, &new.public, KeyState::Active, None);
    assert!(one.verify(&token, now()).is_none());
}

#[test]
fn a_key_is_named_by_its_thumbprint() {
    // RFC 8037, appendix A.3.
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    assert_eq!(thumbprint(&x), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}
