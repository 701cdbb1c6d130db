//! A segment of the log archive: entries in the log's order, and a code that says that this cluster wrote them.
//!
//! | bytes | what (numbers big-endian) |
//! |---|---|
//! | 8 | `TFSEG 1\n` |
//! | 16 | the lineage |
//! | 4 | the group |
//! | 8, 8 | first and last index that it covers; some have no entry |
//! | 4 | number of entries |
//! | 8, 8, 4, n | of each entry: index, stamp in milliseconds, length, and what was proposed |
//! | 32 | HMAC-SHA-256 of all of the above under a key of the cluster |

use raft::{Entry, GroupId, Stretch};
use uuid::Uuid;

use crate::{kernel::Fault, store::Keyring};

/// Bytes of entries in one segment, about.
pub const SEGMENT_BYTES_MAX: usize = 8 << 20;
/// No segment covers more entries: the shortest one that is sealed has more than eighty bytes.
pub const SEGMENT_ENTRIES_MAX: u64 = (8 << 20) / 80;

const MAGIC: &[u8; 8] = b"TFSEG 1\n";
const PURPOSE: &str = "backup-segment";
const MAC_BYTES: usize = 32;

/// Writes a segment.
pub fn encode(keyring: &Keyring, lineage: Uuid, stretch: &Stretch) -> Result<Vec<u8>, Fault> {
    let long = |error| Fault::new("write a segment of the log archive", error);
    let bytes: usize = stretch.entries.iter().map(|entry| entry.body.len() + 20).sum();
    let mut out = Vec::with_capacity(bytes + 80);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(lineage.as_bytes());
    out.extend_from_slice(&GroupId::MAIN.0.to_be_bytes());
    out.extend_from_slice(&stretch.first.to_be_bytes());
    out.extend_from_slice(&stretch.last.to_be_bytes());
    out.extend_from_slice(&u32::try_from(stretch.entries.len()).map_err(long)?.to_be_bytes());
    for entry in &stretch.entries {
        out.extend_from_slice(&entry.index.to_be_bytes());
        out.extend_from_slice(&entry.at_ms.to_be_bytes());
        out.extend_from_slice(&u32::try_from(entry.body.len()).map_err(long)?.to_be_bytes());
        out.extend_from_slice(&entry.body);
    }
    let mac = keyring.mac(PURPOSE, &[&out]);
    out.extend_from_slice(&mac);
    Ok(out)
}

/// Reads a segment of `lineage` that covers `first` to `last`; says what is wrong with another.
pub fn decode(
    keyring: &Keyring,
    lineage: Uuid,
    (first, last): (u64, u64),
    bytes: &bytes::Bytes,
) -> Result<Stretch, &'static str> {
    let body = bytes.len().checked_sub(MAC_BYTES).ok_or("it is too short")?;
    let (signed, mac) = bytes.split_at_checked(body).ok_or("it is too short")?;
    if keyring.mac(PURPOSE, &[signed]) != mac {
        return Err("it is damaged, or another cluster wrote it");
    }
    read(lineage, (first, last), &bytes.slice(..body)).ok_or("it is not what its name says")
}

fn read(lineage: Uuid, (first, last): (u64, u64), signed: &bytes::Bytes) -> Option<Stretch> {
    let mut at = Cursor { bytes: signed, at: 0 };
    let known = at.take(8)? == MAGIC.as_slice()
        && at.take(16)? == lineage.as_bytes().as_slice()
        && at.u32()? == GroupId::MAIN.0
        && (at.u64()?, at.u64()?) == (first, last);
    let count = at.u32()?;
    let mut entries = Vec::new();
    let mut before = first.checked_sub(1)?;
    for _ in 0..count {
        let (index, at_ms, length) = (at.u64()?, at.u64()?, usize::try_from(at.u32()?).ok()?);
        if index <= before || index > last {
            return None;
        }
        before = index;
        entries.push(Entry { group: GroupId::MAIN, index, at_ms, body: at.take(length)? });
    }
    (known && at.at == signed.len()).then_some(Stretch { first, last, entries })
}

struct Cursor<'a> {
    bytes: &'a bytes::Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> Option<bytes::Bytes> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.as_ref().try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.as_ref().try_into().ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const LINEAGE: Uuid = Uuid::from_u128(5);

    fn keyring(byte: u8) -> Keyring {
        Keyring::from_raw(vec![byte; 32]).unwrap()
    }

    fn sample() -> Stretch {
        let entry = |index, body: &'static [u8]| Entry {
            group: GroupId::MAIN,
            index,
            at_ms: index * 10,
            body: body.into(),
        };
        Stretch { first: 3, last: 9, entries: vec![entry(4, b"one"), entry(5, b""), entry(8, b"three")] }
    }

    fn told(stretch: &Stretch) -> Vec<(u64, u64, Vec<u8>)> {
        stretch.entries.iter().map(|entry| (entry.index, entry.at_ms, entry.body.to_vec())).collect()
    }

    #[test]
    fn a_segment_reads_back_and_a_changed_byte_anywhere_or_a_lost_end_is_noticed() {
        let ring = keyring(1);
        let bytes = encode(&ring, LINEAGE, &sample()).unwrap();
        let again = decode(&ring, LINEAGE, (3, 9), &bytes.clone().into()).unwrap();
        assert_eq!(told(&again), told(&sample()));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&ring, LINEAGE, (3, 9), &bad.into()).is_err(), "byte {at}");
            assert!(decode(&ring, LINEAGE, (3, 9), &bytes[..at].to_vec().into()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_segment_of_another_cluster_lineage_or_name_is_refused() {
        let ring = keyring(1);
        let bytes: bytes::Bytes = encode(&ring, LINEAGE, &sample()).unwrap().into();
        assert!(decode(&keyring(2), LINEAGE, (3, 9), &bytes).unwrap_err().contains("another cluster"));
        assert!(decode(&ring, Uuid::from_u128(6), (3, 9), &bytes).is_err());
        assert!(decode(&ring, LINEAGE, (3, 10), &bytes).is_err());
    }
}
