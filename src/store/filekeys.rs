//! The data keys of one file, and entries sealed under them.
//!
//! A file has one data key, or several while the newest is being brought in: each is numbered, and known with the
//! index of the entry that brought it. An entry of the log is sealed under the key that was newest at its index, so
//! whoever destroys a file's keys destroys what the log says of it. Beside the file lies `<name>.key`, one line a key
//! and one for the file:
//!
//! ```text
//! key 1 17 <wrapped key>
//! file 1
//! ```
//!
//! A sealed entry is, all numbers big-endian,
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format, 1 |
//! | 16 | the organization |
//! | 4 | number of the data key |
//! | 32 | salt: each entry has a key of its own, HMAC-SHA-256(HMAC-SHA-256(data key, "log"), salt) |
//! | 2 | bytes of the wrapped key that this entry brings, 0 for none |
//! | n | that wrapped key |
//! | rest | AES-256-GCM of the envelope under a zero nonce; all of the above is authenticated with it |

use std::collections::BTreeMap;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keyring::{Keyring, WrappedKey};
use crate::kernel::{Fault, FileId, OrgId};

const FORMAT: u8 = 1;
const SALT_BYTES: usize = 32;

/// The keys of one file, unwrapped.
pub(super) struct FileKeys {
    file: FileId,
    keys: BTreeMap<u32, DataKey>,
    /// Number of the key that the pages on disk are under.
    on_disk: u32,
}

struct DataKey {
    /// Index of the entry that brought it.
    since: u64,
    wrapped: WrappedKey,
    raw: Zeroizing<[u8; 32]>,
    log: hmac::Key,
}

impl DataKey {
    fn new(keyring: &Keyring, file: FileId, since: u64, wrapped: WrappedKey) -> Result<Self, Fault> {
        let raw = keyring.unwrap_key(file, &wrapped)?;
        let log = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, raw.as_slice()), b"log");
        Ok(Self { since, wrapped, raw, log: hmac::Key::new(hmac::HMAC_SHA256, log.as_ref()) })
    }

    fn cipher(&self, salt: &[u8]) -> Result<LessSafeKey, Fault> {
        let key = hmac::sign(&self.log, salt);
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| Fault::found("derive a key"))?;
        Ok(LessSafeKey::new(key))
    }
}

impl FileKeys {
    /// The keys of a file whose first entry brings `wrapped`.
    pub(super) fn first(
        keyring: &Keyring,
        file: FileId,
        since: u64,
        wrapped: &WrappedKey,
    ) -> Result<Self, Fault> {
        let key = DataKey::new(keyring, file, since, wrapped.clone())?;
        Ok(Self { file, keys: BTreeMap::from([(1, key)]), on_disk: 1 })
    }

    /// Reads the text of a key file.
    pub(super) fn read(keyring: &Keyring, file: FileId, text: &str) -> Result<Self, Fault> {
        let broken = || Fault::found(format!("the key file of {file} is damaged"));
        let (mut keys, mut on_disk) = (BTreeMap::new(), 0);
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["key", number, since, wrapped] => {
                    let (number, since) = number.parse().ok().zip(since.parse().ok()).ok_or_else(broken)?;
                    let wrapped = WrappedKey((*wrapped).to_owned());
                    keys.insert(number, DataKey::new(keyring, file, since, wrapped)?);
                }
                ["file", number] => on_disk = number.parse().map_err(|_| broken())?,
                _ => return Err(broken()),
            }
        }
        if keys.contains_key(&on_disk) { Ok(Self { file, keys, on_disk }) } else { Err(broken()) }
    }

    /// The text for the key file.
    pub(super) fn text(&self) -> String {
        let line =
            |(number, key): (&u32, &DataKey)| format!("key {number} {} {}\n", key.since, key.wrapped.0);
        let keys: String = self.keys.iter().map(line).collect();
        format!("{keys}file {}\n", self.on_disk)
    }

    /// The lines of all keys, and of those that `known` lists and that are no longer here, wrapped under the active
    /// cluster key. One that opens under no key that is held is left out: nobody can open what it sealed.
    pub(super) fn all_lines(mut self, keyring: &Keyring, known: &str) -> Result<String, Fault> {
        for (number, since, wrapped) in known.lines().filter_map(parse_line) {
            if !self.keys.contains_key(&number)
                && let Ok(key) = DataKey::new(keyring, self.file, since, WrappedKey(wrapped.to_owned()))
            {
                self.keys.insert(number, key);
            }
        }
        self.rewrap(keyring)?;
        Ok(self
            .text()
            .lines()
            .filter(|line| line.starts_with("key "))
            .fold(String::new(), |all, line| all + line + "\n"))
    }

    /// Wraps under the active cluster key what is wrapped under an older one; whether anything was.
    pub(super) fn rewrap(&mut self, keyring: &Keyring) -> Result<bool, Fault> {
        let active = keyring.active();
        let mut any = false;
        for key in self.keys.values_mut().filter(|key| key.wrapped.generation() != Some(active)) {
            key.wrapped = keyring.wrap(self.file, &key.raw)?;
            any = true;
        }
        Ok(any)
    }

    /// Number of the newest key.
    pub(super) fn newest(&self) -> u32 {
        self.keys.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The newest key, raw.
    pub(super) fn newest_raw(&self) -> Result<&[u8; 32], Fault> {
        self.raw_of(self.newest())
    }

    /// Whether the key of this number is among them.
    pub(super) fn holds(&self, number: u32) -> bool {
        self.keys.contains_key(&number)
    }

    /// Number of the key that the pages are under.
    pub(super) fn on_disk(&self) -> u32 {
        self.on_disk
    }

    /// Whether the pages are under the newest key.
    pub(super) fn is_on_disk(&self) -> bool {
        self.on_disk == self.newest()
    }

    /// Whether the text of a key file says that the pages are under an older key than the newest: known without any
    /// key of the cluster.
    pub(super) fn lags(text: &str) -> bool {
        let number = |line: &str, word: &str| line.strip_prefix(word)?.split(' ').next()?.parse::<u32>().ok();
        let newest = text.lines().filter_map(|line| number(line, "key ")).max();
        newest != text.lines().find_map(|line| number(line, "file "))
    }

    /// Number of the key that was the newest when the entry at `index` came: an entry that brings a key is under the
    /// one before.
    pub(super) fn number_at(&self, index: u64) -> u32 {
        let known = self.keys.iter().rev().find(|(_, key)| key.since < index);
        known.or_else(|| self.keys.first_key_value()).map_or(0, |(number, _)| *number)
    }

    /// These keys and one more.
    pub(super) fn with(
        &self,
        keyring: &Keyring,
        number: u32,
        since: u64,
        key: &WrappedKey,
    ) -> Result<Self, Fault> {
        let more = format!("key {number} {since} {}\n", key.0);
        Self::read(keyring, self.file, &(more + &self.text()))
    }

    /// The newest key alone, under which the pages are now.
    pub(super) fn newest_only(&self, keyring: &Keyring) -> Result<Self, Fault> {
        let number = self.newest();
        let key = self.numbered(number)?;
        let text = format!("key {number} {} {}\nfile {number}\n", key.since, key.wrapped.0);
        Self::read(keyring, self.file, &text)
    }

    /// What opens the pages on disk.
    pub(super) fn raw(&self) -> Result<&[u8; 32], Fault> {
        self.raw_of(self.on_disk)
    }

    /// What opens pages under the key `number`.
    pub(super) fn raw_of(&self, number: u32) -> Result<&[u8; 32], Fault> {
        self.numbered(number).map(|key| &*key.raw)
    }

    /// Seals an entry under the newest key.
    pub(super) fn seal(
        &self,
        salt: &[u8; SALT_BYTES],
        brings: Option<&WrappedKey>,
        plain: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let (number, key) = self.keys.last_key_value().ok_or_else(|| self.lost(0))?;
        let brings = brings.map_or("", |key| &key.0);
        let length = u16::try_from(brings.len()).map_err(|error| Fault::new("carry a wrapped key", error))?;
        let mut out = Vec::with_capacity(plain.len() + brings.len() + 80);
        out.push(FORMAT);
        out.extend_from_slice(self.file.0.as_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(salt);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(brings.as_bytes());
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let sealed = key.cipher(salt)?.seal_in_place_append_tag(nonce, Aad::from(&out), &mut body);
        sealed.map_err(|_| Fault::found("seal an entry"))?;
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Opens an entry.
    pub(super) fn open(&self, entry: &SealedEntry<'_>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let broken =
            || Fault::found(format!("it does not open under key {} of file {}", entry.number, self.file));
        let cipher = self.numbered(entry.number)?.cipher(entry.salt)?;
        let mut body = Zeroizing::new(entry.body.to_vec());
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain =
            cipher.open_in_place(nonce, Aad::from(entry.head), &mut body).map_err(|_| broken())?.len();
        body.truncate(plain);
        Ok(body)
    }

    fn numbered(&self, number: u32) -> Result<&DataKey, Fault> {
        self.keys.get(&number).ok_or_else(|| self.lost(number))
    }

    fn lost(&self, number: u32) -> Fault {
        Fault::found(format!("key {number} of file {} is not held here", self.file))
    }
}

/// What a key file says whose pages are under the key `on_disk`, from the lines of all keys: without those that came
/// after the entry at `upto`. `None` when that key is not among them.
pub fn key_text(lines: &str, on_disk: u32, upto: u64) -> Option<String> {
    let known: Vec<(u32, u64, &str)> =
        lines.lines().filter_map(parse_line).filter(|(_, since, _)| *since <= upto).collect();
    known.iter().any(|(number, _, _)| *number == on_disk).then(|| {
        let line = |(number, since, wrapped): &(u32, u64, &str)| format!("key {number} {since} {wrapped}\n");
        known.iter().map(line).collect::<String>() + &format!("file {on_disk}\n")
    })
}

/// Number of a key, index of the entry that brought it, and the key, wrapped.
pub(super) fn parse_line(line: &str) -> Option<(u32, u64, &str)> {
    let mut words = line.strip_prefix("key ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?))
}

/// Lines of the keys of a file such that they open under `to`: those that do not, and open under `from`, are wrapped anew.
/// One that opens under neither is left out.
pub fn moved_lines(file: FileId, lines: &str, from: &Keyring, to: &Keyring) -> Result<String, Fault> {
    let open = |(number, since, wrapped): (u32, u64, &str)| {
        let wrapped = WrappedKey(wrapped.to_owned());
        let moved = match to.unwrap_key(file, &wrapped) {
            Ok(_) => Ok(wrapped),
            Err(_) => to.wrap(file, &*from.unwrap_key(file, &wrapped).ok()?),
        };
        Some(moved.map(|wrapped| format!("key {number} {since} {}\n", wrapped.0)))
    };
    lines.lines().filter_map(parse_line).filter_map(open).collect()
}

/// An entry as it stands in the log: whose it is can be read, what it says cannot.
pub struct SealedEntry<'a> {
    /// The file it changes.
    pub file: FileId,
    /// The wrapped key that it brings, if it creates the file.
    pub brings: Option<WrappedKey>,
    number: u32,
    salt: &'a [u8],
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> SealedEntry<'a> {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Reads the plain head; `None` when it is no sealed entry.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (file, rest) = rest.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (salt, rest) = rest.split_at_checked(SALT_BYTES)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (brings, body) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let head = bytes.get(..bytes.len() - body.len())?;
        let brings = std::str::from_utf8(brings).ok()?;
        (*format == FORMAT).then_some(Self {
            file: OrgId(Uuid::from_bytes(*file)),
            brings: (!brings.is_empty()).then(|| WrappedKey(brings.to_owned())),
            number: u32::from_be_bytes(*number),
            salt,
            head,
            body,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const FILE: FileId = OrgId(Uuid::from_u128(7));

    fn keys(raw: u8) -> FileKeys {
        let keyring = Keyring::from_raw(vec![raw; 32]).unwrap();
        FileKeys::first(&keyring, FILE, 1, &keyring.mint(FILE).unwrap()).unwrap()
    }

    #[test]
    fn an_entry_opens_under_its_file_s_key_and_no_other_and_shows_nothing_but_its_file() {
        let (here, other) = (keys(1), keys(1));
        let sealed = here.seal(&[3; 32], None, b"the marker").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"marker"));
        let entry = SealedEntry::parse(&sealed).unwrap();
        assert_eq!((entry.file, entry.brings.is_none()), (FILE, true));
        assert_eq!(here.open(&entry).unwrap().as_slice(), b"the marker");
        assert!(other.open(&entry).is_err());
    }

    #[test]
    fn lines_that_open_stay_others_are_wrapped_anew_and_what_opens_nowhere_goes() {
        let [here, there, nowhere] = [1, 2, 3].map(|raw| Keyring::from_raw(vec![raw; 32]).unwrap());
        let line = |number: u32, ring: &Keyring| format!("key {number} 9 {}\n", ring.mint(FILE).unwrap().0);
        let (own, other) = (line(1, &here), line(2, &there));
        let moved = moved_lines(FILE, &(own.clone() + &other + &line(3, &nowhere)), &there, &here).unwrap();
        let moved: Vec<_> = moved.lines().filter_map(parse_line).collect();
        assert_eq!(moved.len(), 2);
        assert_eq!(moved[0], parse_line(own.trim_end()).unwrap());
        let raw = |ring: &Keyring, line: &str| {
            let (number, since, wrapped) = parse_line(line.trim_end()).unwrap();
            (number, since, ring.unwrap_key(FILE, &WrappedKey(wrapped.to_owned())).unwrap())
        };
        assert_eq!(raw(&here, &format!("key 2 9 {}", moved[1].2)), raw(&there, &other));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let keys = keys(1);
        let brings = WrappedKey("abcd".to_owned());
        let sealed = keys.seal(&[3; 32], Some(&brings), b"body").unwrap();
        assert_eq!(SealedEntry::parse(&sealed).unwrap().brings, Some(brings));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(SealedEntry::parse(&bad).is_none_or(|entry| keys.open(&entry).is_err()), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(SealedEntry::parse(&sealed[..length]).is_none_or(|entry| keys.open(&entry).is_err()));
        }
    }

    #[test]
    fn a_key_file_reads_back_and_a_damaged_one_is_refused() {
        let keyring = Keyring::from_raw(vec![1; 32]).unwrap();
        let keys = FileKeys::first(&keyring, FILE, 17, &keyring.mint(FILE).unwrap()).unwrap();
        let again = FileKeys::read(&keyring, FILE, &keys.text()).unwrap();
        assert_eq!(again.raw().unwrap(), keys.raw().unwrap());
        assert_eq!(again.text(), keys.text());
        for bad in [
            "",
            "file 1\n",
            "key 1 17 00\nfile 1\n",
            "key x 1 00\n",
            &keys.text().replace("file 1", "file 2"),
        ] {
            assert!(FileKeys::read(&keyring, FILE, bad).is_err(), "{bad:?}");
        }
    }
}
