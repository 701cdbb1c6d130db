//! The first administrator's password: given by the operator, or drawn and written down once.

use std::{fs, path::Path};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Failure, folder::DataFolder};
use crate::{
    features::identity::model::judge_strength,
    kernel::{Fault, Secret},
    store::{read_if_present, write_secret},
};

/// Characters of a password that is drawn: 120 bits.
const DRAWN_BYTES: usize = 15;

/// The password in a file the operator named.
pub(super) fn given(path: &Path) -> Result<Secret<String>, Failure> {
    let shown = path.display();
    let fix = "write the password alone into the file that THREATFLOW_ADMIN_PASSWORD_FILE names";
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("the administrator's password cannot be read from {shown}: {error}"), fix)
    })?;
    let password = Zeroizing::new(text);
    let password = password.trim_end_matches(['\r', '\n']);
    judge_strength(password, &[])
        .map_err(|why| Failure::new(format!("the password in {shown} {why}"), fix))?;
    Ok(Secret::new(password.to_owned()))
}

/// The password in the data folder; drawn and written there first if there is none.
pub(super) fn drawn(folder: &DataFolder) -> Result<Secret<String>, Fault> {
    let path = folder.password();
    if let Some(bytes) = read_if_present(&path)? {
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        if !text.trim().is_empty() {
            return Ok(Secret::new(text.trim().to_owned()));
        }
    }
    let mut bytes = Zeroizing::new([0; DRAWN_BYTES]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| Fault::found("the system gave no random bytes"))?;
    let password = base32(bytes.as_ref());
    write_secret(&path, format!("{password}\n").as_bytes())?;
    Ok(Secret::new(password))
}

/// RFC 4648 base32 in lower case; whole groups of five bytes only.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let group = |five: &[u8]| five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digit = |bits: u64, place: u32| {
        let index = usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or(0);
        char::from(*DIGITS.get(index).unwrap_or(&b'a'))
    };
    bytes.chunks_exact(5).map(group).flat_map(|bits| (0..8).map(move |place| digit(bits, place))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn base32_is_that_of_the_standard() {
        assert_eq!(base32(b"fooba"), "mzxw6ytb");
        assert_eq!(base32(&[0xff; 15]).len(), 24);
    }

    #[test]
    fn a_drawn_password_is_written_once_and_kept() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::claim(place.path()).unwrap();
        let first = drawn(&folder).unwrap();
        assert_eq!(first.reveal().len(), 24);
        assert_eq!(drawn(&folder).unwrap().reveal(), first.reveal());
    }

    #[test]
    fn a_given_password_loses_its_line_end_and_must_be_long_enough() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("password");
        std::fs::write(&path, "correct horse battery\r\n").unwrap();
        assert_eq!(given(&path).unwrap().reveal(), "correct horse battery");
        std::fs::write(&path, "short\n").unwrap();
        assert!(given(&path).err().unwrap().to_string().contains("12"));
        assert!(given(&place.path().join("none")).is_err());
    }
}
