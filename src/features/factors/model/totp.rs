//! Codes by time: RFC 6238 over RFC 4226.

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::kernel::Millis;

/// The hash under a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hash {
    /// What every authenticator app knows.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Seconds that a code is shown.
pub const PERIOD_SECONDS: i64 = 30;
/// Digits of a code.
pub const DIGITS: u32 = 6;
/// Bytes of a secret: as long as the output of SHA-1 (RFC 4226, section 4, R6).
pub const SECRET_BYTES: usize = 20;
/// Steps before and after the present one whose codes are taken too: clocks differ, and people type slowly.
const WINDOW: i64 = 1;

/// The code of one step.
pub fn code(hash: Hash, secret: &[u8], step: i64, digits: u32) -> u32 {
    let algorithm = match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha512 => hmac::HMAC_SHA512,
    };
    let mac = hmac::sign(&hmac::Key::new(algorithm, secret), &step.to_be_bytes());
    let mac = mac.as_ref();
    // RFC 4226, section 5.3: the last four bits say where to read.
    let offset = usize::from(mac.last().copied().unwrap_or(0) & 0x0f);
    let word = mac.get(offset..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
    (u32::from_be_bytes(word) & 0x7fff_ffff) % 10_u32.saturating_pow(digits)
}

/// The step that a moment lies in.
pub fn step_at(at: Millis) -> i64 {
    at.0.div_euclid(PERIOD_SECONDS * 1000)
}

/// The newest step about `at` whose code is `shown`.
pub fn matching_step(secret: &[u8], shown: u32, at: Millis) -> Option<i64> {
    let present = step_at(at);
    // Every step is looked at, whichever matches: the time it takes says nothing.
    let steps = present - WINDOW..=present + WINDOW;
    steps.fold(
        None,
        |found, step| {
            if code(Hash::Sha1, secret, step, DIGITS) == shown { Some(step) } else { found }
        },
    )
}

/// A secret in base32 (RFC 4648, without padding), as people type it into an app.
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: [char; 32] = [
        'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T',
        'U', 'V', 'W', 'X', 'Y', 'Z', '2', '3', '4', '5', '6', '7',
    ];
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let word = group.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let bits = group.len() * 8;
        let word = word << (40 - bits);
        for place in 0..bits.div_ceil(5) {
            let index = usize::try_from(word >> (35 - 5 * place) & 31).unwrap_or(0);
            text.extend(ALPHABET.get(index));
        }
    }
    text
}

/// The URI that an authenticator app reads from a picture (the Key URI format of Google Authenticator).
pub fn key_uri(issuer: &str, account: &str, secret: &[u8]) -> String {
    let (issuer, account) = (encoded(issuer), encoded(account));
    let secret = base32(secret);
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={PERIOD_SECONDS}"
    )
}

fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let each = text.bytes().map(|byte| match byte {
        byte if plain(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        let vectors: [(i64, u32, u32, u32); 6] = [
            (59, 94_287_082, 46_119_246, 90_693_936),
            (1_111_111_109, 7_081_804, 68_084_774, 25_091_201),
            (1_111_111_111, 14_050_471, 67_062_674, 99_943_326),
            (1_234_567_890, 89_005_924, 91_819_424, 93_441_116),
            (2_000_000_000, 69_279_037, 90_698_825, 38_618_901),
            (20_000_000_000, 65_353_130, 77_737_706, 47_863_826),
        ];
        for (seconds, sha1, sha256, sha512) in vectors {
            let step = step_at(Millis(seconds * 1000));
            assert_eq!(code(Hash::Sha1, &SEED[..20], step, 8), sha1, "{seconds}");
            assert_eq!(code(Hash::Sha256, &SEED[..32], step, 8), sha256, "{seconds}");
            assert_eq!(code(Hash::Sha512, &SEED[..64], step, 8), sha512, "{seconds}");
            assert_eq!(code(Hash::Sha1, &SEED[..20], step, 6), sha1 % 1_000_000);
        }
    }

    #[test]
    fn codes_are_those_of_rfc_4226_appendix_d() {
        let vectors =
            [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
        for (count, expected) in (0..).zip(vectors) {
            assert_eq!(code(Hash::Sha1, &SEED[..20], count, 6), expected);
        }
    }

    #[test]
    fn a_code_holds_for_its_step_and_the_one_on_either_side() {
        let at = Millis(1_795_392_000_000);
        let step = step_at(at);
        let shown = |step| code(Hash::Sha1, &SEED[..20], step, DIGITS);
        for near in step - 1..=step + 1 {
            assert_eq!(matching_step(&SEED[..20], shown(near), at), Some(near));
        }
        assert_eq!(matching_step(&SEED[..20], shown(step - 2), at), None);
        assert_eq!(matching_step(&SEED[..20], shown(step + 2), at), None);
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
        ];
        for (plain, expected) in vectors {
            assert_eq!(base32(plain.as_bytes()), expected);
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
    }

    #[test]
    fn a_key_uri_escapes_what_would_end_it() {
        assert_eq!(
            key_uri("Threat Flow", "a&b@c.test", b"foobar"),
            "otpauth://totp/Threat%20Flow:a%26b%40c.test?secret=MZXW6YTBOI&issuer=Threat%20Flow&algorithm=SHA1&digits=6&period=30"
        );
    }
}
