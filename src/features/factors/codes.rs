//! Codes that people type, at the edge: secrets are drawn, sealed, opened and compared here, and nowhere else.

use std::str::FromStr;

use zeroize::Zeroizing;

use super::{
    Holder,
    commands::{Attempt, RefuseProof},
    model::{
        Method, RECOVERY_CODES, Shown,
        totp::{self, SECRET_BYTES},
    },
    queries,
};
use crate::{
    cluster::View,
    kernel::{FactorId, Fault, OrgId, Refusal, UserId, from_hex, to_hex},
    store::Keyring,
    web::{Cx, Problem},
};

/// A code, as it was typed.
#[derive(Clone)]
pub enum Code {
    /// Of an authenticator app.
    Totp(u32),
    /// A recovery code, without what only helps the eye.
    Recovery(String),
}

/// What a code looks like.
pub const CODE_EXPECTED: &str = "six digits, or a recovery code such as ABCD-EFGH-IJKL-MNOP";
const RECOVERY_BYTES: usize = 10;
const RECOVERY_CHARS: usize = 16;

impl FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        if plain.len() == 6 && plain.bytes().all(|byte| byte.is_ascii_digit()) {
            return plain.parse().map(Self::Totp).map_err(|_| ());
        }
        let plain = plain.to_ascii_uppercase();
        let sound = plain.len() == RECOVERY_CHARS
            && plain.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte));
        if sound { Ok(Self::Recovery(plain)) } else { Err(()) }
    }
}

/// The seal names whose secret it is: in another's row it does not open.
fn seal_context(organization: OrgId, user: UserId, factor: FactorId) -> String {
    format!("factors-totp:{organization}:{user}:{factor}")
}

/// A secret, sealed for another organization, in whose file it is to lie.
pub(super) fn reseal(
    keyring: &Keyring,
    (from, to): (OrgId, OrgId),
    user: UserId,
    factor: FactorId,
    sealed: &[u8],
) -> Result<Vec<u8>, Fault> {
    let secret = open(keyring, from, user, factor, sealed)?;
    keyring.seal_for_life(&seal_context(to, user, factor), secret.as_slice())
}

/// Draws a secret for an authenticator app, and seals it.
pub(super) fn draw(
    keyring: &Keyring,
    organization: OrgId,
    user: UserId,
    factor: FactorId,
) -> Result<String, Fault> {
    let secret = Zeroizing::new(keyring.draw::<SECRET_BYTES>()?);
    let sealed = keyring.seal_for_life(&seal_context(organization, user, factor), secret.as_slice())?;
    Ok(to_hex(&sealed))
}

/// Opens a sealed secret.
pub(super) fn open(
    keyring: &Keyring,
    organization: OrgId,
    user: UserId,
    factor: FactorId,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    keyring.unseal_for_life(&seal_context(organization, user, factor), sealed)
}

/// Recovery codes, to be shown once, with their digests.
pub(super) fn draw_recovery(keyring: &Keyring, user: UserId) -> Result<(Vec<String>, Vec<String>), Fault> {
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        codes.push(totp::base32(&keyring.draw::<RECOVERY_BYTES>()?));
    }
    let digests = codes.iter().map(|code| recovery_digest(keyring, user, code)).collect();
    let spaced = |code: &String| {
        let chars: Vec<char> = code.chars().collect();
        chars.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
    };
    Ok((codes.iter().map(spaced).collect(), digests))
}

fn recovery_digest(keyring: &Keyring, user: UserId, code: &str) -> String {
    keyring.fingerprint(&[b"recovery-code", user.0.as_bytes(), code.as_bytes()])
}

/// Counts the attempt, or answers 429.
pub(super) async fn attempt(cx: &Cx, holder: &Holder) -> Result<(), Problem> {
    let ticket = cx.ticket.by(holder.actor()).step("attempt");
    cx.cluster.propose(&ticket, holder.organization, &Attempt { user: holder.user }).await?;
    Ok(())
}

/// Leaves an event, and answers 401.
pub(super) async fn refuse(cx: &Cx, holder: &Holder, method: Method) -> Problem {
    let ticket = cx.ticket.by(holder.actor()).step("refused");
    let refuse = RefuseProof { user: holder.user, method };
    match cx.cluster.propose(&ticket, holder.organization, &refuse).await {
        Ok(_) => Refusal::ProofRefused { reason: "wrong".to_owned() }.into(),
        Err(unanswered) => unanswered.into(),
    }
}

/// What a code shows, if it holds; whether it was used before is for apply to say. `waiting` names a secret that is
/// not confirmed yet.
pub async fn verify_code(
    cx: &Cx,
    holder: &Holder,
    code: Code,
    waiting: Option<FactorId>,
) -> Result<Shown, Problem> {
    attempt(cx, holder).await?;
    let (organization, user) = (holder.organization, holder.user);
    let keyring = cx.cluster.store().keyring();
    let shown = match code {
        Code::Recovery(_) if waiting.is_some() => return Err(refuse(cx, holder, Method::RecoveryCode).await),
        Code::Recovery(code) => {
            return Ok(Shown::RecoveryCode { digest: recovery_digest(keyring, user, &code) });
        }
        Code::Totp(shown) => shown,
    };
    let found = cx
        .cluster
        .read(&View::Session(None), organization, move |tx| queries::totp(tx, user, waiting))
        .await?
        .flatten();
    if let Some(totp) = found {
        let secret = open(keyring, organization, user, totp.id, &totp.sealed)?;
        if let Some(step) = totp::matching_step(&secret, shown, cx.now) {
            // A code that was used holds, too, and is refused for what it is.
            return Ok(Shown::Totp { factor: totp.id, step });
        }
    } else if waiting.is_some() {
        return Err(Problem::not_found());
    }
    Err(refuse(cx, holder, Method::Totp).await)
}

/// The secret behind a sealed text of a reply.
pub(super) fn open_text(
    keyring: &Keyring,
    organization: OrgId,
    user: UserId,
    factor: FactorId,
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let sealed = from_hex(sealed).ok_or_else(|| Fault::found("a sealed secret is not hexadecimal"))?;
    open(keyring, organization, user, factor, &sealed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_code_is_read_with_or_without_what_helps_the_eye() {
        assert!(matches!("123 456".parse(), Ok(Code::Totp(123_456))));
        assert!(matches!("000001".parse(), Ok(Code::Totp(1))));
        for text in ["abcd-efgh-2345-mnop", "ABCDEFGH2345MNOP"] {
            assert!(matches!(text.parse(), Ok(Code::Recovery(code)) if code == "ABCDEFGH2345MNOP"), "{text}");
        }
        for text in ["", "12345", "1234567", "١٢٣٤٥٦", "abcd-efgh-2345-mno1", "abcd-efgh-2345-mnopq"] {
            assert!(text.parse::<Code>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_opens_for_its_own_factor_alone() {
        let keyring = Keyring::create().unwrap();
        let id = Uuid::from_u128;
        let sealed = draw(&keyring, OrgId(id(1)), UserId(id(2)), FactorId(id(3))).unwrap();
        let open = |org, user, factor| {
            open_text(&keyring, OrgId(id(org)), UserId(id(user)), FactorId(id(factor)), &sealed)
        };
        assert_eq!(open(1, 2, 3).unwrap().len() * 8, 160);
        for (org, user, factor) in [(9, 2, 3), (1, 9, 3), (1, 2, 9)] {
            assert!(open(org, user, factor).is_err());
        }
    }

    #[test]
    fn ten_recovery_codes_of_eighty_bits_differ_and_digest_as_they_are_typed() {
        let (keyring, user) = (Keyring::create().unwrap(), UserId(Uuid::from_u128(1)));
        let (codes, digests) = draw_recovery(&keyring, user).unwrap();
        let different: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!(different.len(), 10);
        for (code, digest) in codes.iter().zip(&digests) {
            let Ok(Code::Recovery(plain)) = code.to_lowercase().parse() else { panic!("{code}") };
            assert_eq!(recovery_digest(&keyring, user, &plain), *digest);
            assert_ne!(recovery_digest(&keyring, UserId(Uuid::from_u128(2)), &plain), *digest);
        }
    }
}
