//! Seals: where the key that opens the vault comes from.

use std::{
    env, fmt, fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use argon2::{Algorithm, Argon2, Params, Version};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::closed_to_others;
use crate::{
    kernel::{Fault, from_hex, to_hex},
    node::Failure,
};

/// A key shorter than this is none.
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: u64 = 4096;
const PASSPHRASE_CHARS_MIN: usize = 12;
/// A passphrase is stretched once a start: more than a login may cost.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const SALT_BYTES: usize = 16;

/// What opens the keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Nothing: it lies open in the data folder.
    DataDir,
    /// A file with at least 32 random bytes, outside the data folder.
    File(PathBuf),
    /// The same as a credential of systemd, by name.
    Credential(String),
    /// A passphrase: the first line of a file, or of standard input.
    Passphrase(Option<PathBuf>),
}

/// What a passphrase was stretched with (argon2id).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stretch {
    salt: String,
    memory_kib: u32,
    passes: u32,
}

/// The key that opens the vault.
pub(super) struct Opener(pub(super) Zeroizing<[u8; 32]>);

impl Seal {
    /// What it is, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DataDir => "data_dir",
            Self::File(_) => "file",
            Self::Credential(_) => "credential",
            Self::Passphrase(_) => "passphrase",
        }
    }

    /// What a new vault under this seal is stretched with.
    pub(super) fn stretch(&self) -> Result<Option<Stretch>, Fault> {
        if !matches!(self, Self::Passphrase(_)) {
            return Ok(None);
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| Fault::found("the system gave no random bytes"))?;
        Ok(Some(Stretch { salt: to_hex(&salt), memory_kib: MEMORY_KIB, passes: PASSES }))
    }

    /// Fetches the key; `None` when nothing seals.
    pub(super) fn opener(&self, stretch: Option<&Stretch>) -> Result<Option<Opener>, Failure> {
        match self {
            Self::DataDir => Ok(None),
            Self::File(path) => key_in(path).map(Some),
            Self::Credential(name) => {
                let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    let what = format!("there is no credential {name:?}: this process got none from systemd");
                    Failure::new(what, format!("give the unit `LoadCredentialEncrypted={name}:PATH`"))
                })?;
                key_in(&Path::new(&folder).join(name)).map(Some)
            }
            Self::Passphrase(file) => {
                let passphrase = match file {
                    Some(path) => first_line(&fs::read(path).map_err(|error| unreadable(path, &error))?),
                    None => asked()?,
                };
                let damaged =
                    || Failure::new("the vault does not say how its passphrase is stretched", "restore it");
                stretch.ok_or_else(damaged)?.stretched(&passphrase).map(Some)
            }
        }
    }
}

impl FromStr for Seal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text)).ok_or(());
        match text.split_once(':') {
            None if text == "data_dir" => Ok(Self::DataDir),
            None if text == "passphrase" => Ok(Self::Passphrase(None)),
            Some(("file", rest)) => path(rest).map(Self::File),
            Some(("passphrase", rest)) => path(rest).map(|path| Self::Passphrase(Some(path))),
            Some(("credential", rest)) if !rest.is_empty() && !rest.contains('/') => {
                Ok(Self::Credential(rest.to_owned()))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir | Self::Passphrase(None) => out.write_str(self.name()),
            Self::File(path) | Self::Passphrase(Some(path)) => {
                write!(out, "{}:{}", self.name(), path.display())
            }
            Self::Credential(name) => write!(out, "credential:{name}"),
        }
    }
}

impl Stretch {
    fn stretched(&self, passphrase: &str) -> Result<Opener, Failure> {
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            let what = format!("the passphrase is shorter than {PASSPHRASE_CHARS_MIN} characters");
            return Err(Failure::new(what, "choose a longer one, such as six random words"));
        }
        let broken = |error: argon2::Error| Fault::new("stretch the passphrase", error.to_string());
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).map_err(broken)?;
        let mut key = Zeroizing::new([0; 32]);
        let salt = from_hex(&self.salt).unwrap_or_default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut_slice())
            .map_err(broken)?;
        Ok(Opener(key))
    }
}

/// The content of a key file is random already: it is only brought to length.
fn key_in(path: &Path) -> Result<Opener, Failure> {
    let shown = path.display();
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    closed_to_others(path)?;
    if about.len() > KEY_BYTES_MAX {
        return Err(Failure::new(format!("{shown} is too large to be a key"), "name the right file"));
    }
    let content = Zeroizing::new(fs::read(path).map_err(|error| unreadable(path, &error))?);
    let trimmed = content.trim_ascii();
    if trimmed.len() < KEY_BYTES_MIN {
        let what = format!("{shown} holds {} bytes, and a key has at least {KEY_BYTES_MIN}", trimmed.len());
        return Err(Failure::new(what, "fill it as `head -c 32 /dev/urandom | base64` does"));
    }
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, trimmed), b"threatflow seal");
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(mac.as_ref());
    Ok(Opener(key))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    Failure::new(
        format!("the key that opens the keyring cannot be read from {shown}: {error}"),
        format!(
            "put it there, readable by this user only: `(umask 077; head -c 32 /dev/urandom | base64 > {shown})`"
        ),
    )
}

fn first_line(bytes: &[u8]) -> Zeroizing<String> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Zeroizing::new(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned())
}

/// The first line of standard input; a person is asked for it, and it is not shown.
fn asked() -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
    if let Some(modes) = &before {
        let _ = write!(io::stderr(), "passphrase of the keyring: ");
        let mut hidden = modes.clone();
        hidden.local_modes -= LocalModes::ECHO;
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &hidden);
    }
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    if let Some(modes) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, modes);
        let _ = writeln!(io::stderr());
    }
    read.map_err(|error| {
        Failure::new(format!("no passphrase could be read: {error}"), "name a file with it")
    })?;
    Ok(first_line(line.as_bytes()))
}
