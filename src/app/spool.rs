//! Entries of the archive on disk, by file: what is applied to a file once it has been fetched, long after the archive was
//! read.
//!
//! Frames one after the other, numbers big-endian: index (8), stamp in milliseconds (8), bytes of the entry (4), CRC-64
//! of these and the entry (8), the entry as it stands in the log. Written once, and synced before anybody relies on it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use raft::{Entry, GroupId};

use crate::{kernel::FileId, store::SealedEntry};

const HEAD_BYTES: usize = 28;
/// Where each entry lies is kept in memory, 16 bytes a piece.
pub const ENTRIES_MAX: u64 = 4 << 20;
/// No entry is larger; a length that is, is damage.
const ENTRY_BYTES_MAX: usize = 64 << 20;

/// Takes entries in.
pub struct Spooling {
    out: Mutex<BufWriter<File>>,
    folder: PathBuf,
}

impl Spooling {
    /// An empty spool.
    pub fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("write {}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
        Ok(Self { out: Mutex::new(BufWriter::new(file)), folder })
    }

    /// Appends an entry.
    pub fn push(&self, entry: &Entry) -> Result<(), String> {
        let failed = |error: io::Error| format!("write an entry of the archive aside: {error}");
        let length = u32::try_from(entry.body.len()).map_err(|error| failed(io::Error::other(error)))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&entry.index.to_be_bytes());
        head.extend_from_slice(&entry.at_ms.to_be_bytes());
        head.extend_from_slice(&length.to_be_bytes());
        let sum = sum(&head, &entry.body);
        head.extend_from_slice(&sum.to_be_bytes());
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&head).and_then(|()| out.write_all(&entry.body)).map_err(failed)
    }

    /// Makes all of it durable.
    pub fn end(self) -> Result<(), String> {
        let out = self.out.into_inner().unwrap_or_else(PoisonError::into_inner);
        let synced =
            out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        let synced = synced.and_then(|()| File::open(&self.folder)?.sync_all());
        synced.map_err(|error| format!("make the entries of the archive durable: {error}"))
    }
}

/// Entries that were taken in.
pub struct Spool {
    file: File,
    /// Where the frames of each file lie.
    by_file: BTreeMap<FileId, Vec<(u64, usize)>>,
}

impl Spool {
    /// Reads all of it once, and refuses one that is damaged.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("read {}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        let mut source = BufReader::with_capacity(1 << 20, &file);
        let (mut by_file, mut at) = (BTreeMap::<_, Vec<_>>::new(), 0);
        while at < end {
            let mut head = [0; HEAD_BYTES];
            source.read_exact(&mut head).map_err(failed)?;
            let damaged = || format!("{} is damaged at byte {at}", path.display());
            let length = length(&head).ok_or_else(damaged)?;
            let mut frame = head.to_vec();
            frame.resize(HEAD_BYTES + length, 0);
            let body = frame.get_mut(HEAD_BYTES..).ok_or_else(damaged)?;
            source.read_exact(body).map_err(failed)?;
            let entry = parse(&frame).ok_or_else(damaged)?;
            let sealed = SealedEntry::parse(&entry.body).ok_or_else(damaged)?;
            by_file.entry(sealed.file).or_default().push((at, frame.len()));
            at += frame.len() as u64;
        }
        Ok(Self { file, by_file })
    }

    /// Whether any entry of a file was put aside.
    pub fn holds(&self, file: FileId) -> bool {
        self.by_file.get(&file).is_some_and(|frames| !frames.is_empty())
    }

    /// The entries of a file, in order, at most so many from the one numbered `from` on.
    pub fn of(&self, file: FileId, from: usize, most: usize) -> Result<Vec<Entry>, String> {
        let frames = self.by_file.get(&file).into_iter().flatten().skip(from).take(most);
        frames
            .map(|(at, length)| {
                let mut frame = vec![0; *length];
                let read = self.file.read_exact_at(&mut frame, *at);
                read.map_err(|error| format!("read an entry of file {file} from disk: {error}"))?;
                parse(&frame)
                    .ok_or_else(|| format!("the entries of file {file} on disk are damaged at byte {at}"))
            })
            .collect()
    }
}

fn length(head: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(head.get(16..20)?.try_into().ok()?);
    usize::try_from(length).ok().filter(|length| *length <= ENTRY_BYTES_MAX)
}

fn parse(frame: &[u8]) -> Option<Entry> {
    let (head, body) = frame.split_at_checked(HEAD_BYTES)?;
    let (numbers, told) = head.split_at_checked(20)?;
    let number = |at: usize| Some(u64::from_be_bytes(numbers.get(at..at + 8)?.try_into().ok()?));
    let whole = length(head)? == body.len() && told == sum(numbers, body).to_be_bytes();
    let entry = Entry {
        group: GroupId::MAIN,
        index: number(0)?,
        at_ms: number(8)?,
        body: Bytes::copy_from_slice(body),
    };
    whole.then_some(entry)
}

fn sum(numbers: &[u8], body: &[u8]) -> u64 {
    let mut sum = Digest::new(CrcAlgorithm::Crc64GoIso);
    sum.update(numbers);
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::{fs, sync::Arc};

    use uuid::Uuid;

    use super::*;
    use crate::{
        kernel::OrgId,
        store::{Keyring, Store},
    };

    #[test]
    fn each_file_s_entries_come_back_in_order_and_a_changed_byte_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::from_raw(vec![1; 32]).unwrap());
        let store = Store::open(&place.path().join("store"), keyring).unwrap();
        let path = place.path().join("entries");
        let spooling = Spooling::create(&path).unwrap();
        let file = |number: u64| OrgId(Uuid::from_u128(u128::from(number % 3)));
        let entries: Vec<Entry> = (1..=10_u64)
            .map(|index| {
                let key = store.keyring().mint(file(index)).unwrap();
                let body = store.seal_entry(file(index), Some(&key), &index.to_be_bytes()).unwrap().unwrap();
                Entry { group: GroupId::MAIN, index, at_ms: 70 + index, body: body.into() }
            })
            .collect();
        for entry in &entries {
            spooling.push(entry).unwrap();
        }
        spooling.end().unwrap();
        let spool = Spool::open(&path).unwrap();
        for number in 0..3 {
            let (mut read, mut known) = (Vec::new(), entries.clone());
            known.retain(|entry| file(entry.index) == file(number));
            for at in 0..known.len() {
                read.append(&mut spool.of(file(number), at, 1).unwrap());
            }
            let told = |entry: &Entry| (entry.index, entry.at_ms, entry.body.clone());
            assert!(read.iter().map(told).eq(known.iter().map(told)));
        }
        assert!(spool.of(OrgId(Uuid::from_u128(9)), 0, 9).unwrap().is_empty());
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Spool::open(&path).is_err(), "byte {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(Spool::open(&path).is_err(), "cut short");
    }
}
