//! An authenticator in software: makes passkeys and signs with them, and shows codes.

use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use threatflow::features::factors::model::totp::{DIGITS, Hash, code};

/// One passkey on one device, which verified its user.
pub struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 16],
    origin: String,
    user: Vec<u8>,
    pub counter: u32,
}

const PRESENT_AND_VERIFIED: u8 = 0x05;
const HAS_KEY: u8 = 0x40;

impl Authenticator {
    /// A device that shows `origin` to sites.
    pub fn new(origin: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let id = uuid::Uuid::new_v4().into_bytes();
        Self { key, id, origin: origin.to_owned(), user: Vec::new(), counter: 0 }
    }

    /// `navigator.credentials.create`.
    pub fn make(&mut self, options: &Value) -> Value {
        let options = &options["publicKey"];
        self.user = unbase64(options["user"]["id"].as_str().unwrap());
        let point = self.key.public_key().as_ref();
        // COSE: {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
        let cose = [
            &[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20][..],
            &point[1..33],
            &[0x22, 0x58, 0x20],
            &point[33..65],
        ]
        .concat();
        let id_length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let attested = [&[0; 16][..], &id_length, &self.id, &cose].concat();
        let data = self.data(&options["rp"]["id"], PRESENT_AND_VERIFIED | HAS_KEY, &attested);
        // CBOR: {"fmt": "none", "attStmt": {}, "authData": data}
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        let object = [&b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"[..], &length, &data].concat();
        let client = self.client("webauthn.create", &options["challenge"]);
        self.credential(json!({
            "clientDataJSON": base64(client.as_bytes()), "attestationObject": base64(&object),
        }))
    }

    /// `navigator.credentials.get`. Counts the signature.
    pub fn show(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let options = &options["publicKey"];
        let data = self.data(&options["rpId"], PRESENT_AND_VERIFIED, &[]);
        let client = self.client("webauthn.get", &options["challenge"]);
        let signed = [&data[..], digest(&SHA256, client.as_bytes()).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        self.credential(json!({
            "clientDataJSON": base64(client.as_bytes()), "authenticatorData": base64(&data),
            "signature": base64(signature.as_ref()), "userHandle": base64(&self.user),
        }))
    }

    fn data(&self, site: &Value, flags: u8, more: &[u8]) -> Vec<u8> {
        let site = digest(&SHA256, site.as_str().unwrap().as_bytes());
        [site.as_ref(), &[flags], &self.counter.to_be_bytes(), more].concat()
    }

    fn client(&self, kind: &str, challenge: &Value) -> String {
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false })
            .to_string()
    }

    fn credential(&self, response: Value) -> Value {
        let id = base64(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
    }
}

/// The code that an app shows for a secret, so many steps from now.
pub fn code_of(secret: &str, steps: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let step = i64::try_from(now / 30).unwrap() + steps;
    format!("{:06}", code(Hash::Sha1, &unbase32(secret), step, DIGITS))
}

fn unbase32(text: &str) -> Vec<u8> {
    pack(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 5)
}

const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn unbase64(text: &str) -> Vec<u8> {
    pack(text, BASE64URL, 6)
}

fn pack(text: &str, alphabet: &str, bits: u32) -> Vec<u8> {
    let (mut word, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.chars() {
        word = word << bits | u32::try_from(alphabet.find(c).unwrap()).unwrap();
        held += bits;
        if held >= 8 {
            held -= 8;
            bytes.push((word >> held & 0xff) as u8);
        }
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (24 - 8 * group.len());
        for place in 0..=group.len() {
            let index = (word >> (18 - 6 * place) & 63) as usize;
            text.push_str(&BASE64URL[index..=index]);
        }
    }
    text
}
