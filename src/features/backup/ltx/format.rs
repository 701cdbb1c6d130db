//! The fixed parts of a file: its header, its checksum, its numbers.

use crc_fast::{CrcAlgorithm, Digest};

use super::LtxError;

pub(super) const HEADER_BYTES: usize = 100;
pub(super) const TRAILER_BYTES: usize = 16;
pub(super) const PAGE_HEADER_BYTES: usize = 6;
const MAGIC: &[u8; 4] = b"LTX1";
/// No checksum of the database is kept: litestream sets it too.
const NO_DATABASE_CHECKSUM: u32 = 2;
/// Where SQLite locks a database; it keeps nothing in that page (sqlite.org/fileformat.html, 1.5).
const LOCK_BYTE: u32 = 0x4000_0000;
/// The most that SQLite counts to.
const PAGES_MAX: u32 = u32::MAX - 1;

/// What a file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page: a power of two, 512 to 65536.
    pub page_size: u32,
    /// Pages of the database after the last transaction; at least 1.
    pub commit: u32,
    /// First transaction; at least 1. A file that begins at 1 is a snapshot and holds every page.
    pub min_txid: u64,
    /// Last transaction.
    pub max_txid: u64,
    /// When the last transaction was made, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// The page that SQLite never writes.
pub fn lock_page(page_size: u32) -> u32 {
    LOCK_BYTE.checked_div(page_size).unwrap_or_default().saturating_add(1)
}

/// The page after `page` in a file that holds every page.
pub(super) fn page_after(page: u32, page_size: u32) -> u32 {
    let next = page.saturating_add(1);
    if next == lock_page(page_size) { next.saturating_add(1) } else { next }
}

impl Header {
    /// Whether the file has to hold every page.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid == 1
    }

    /// What no reader would take; said before a byte is written.
    pub(super) fn check(&self) -> Result<(), LtxError> {
        let wrong = |at, what: String| Err(LtxError::bad(at, what));
        if !self.page_size.is_power_of_two() || !(512..=65536).contains(&self.page_size) {
            return wrong(
                8,
                format!("a page size of {}: a power of two, 512 to 65536, is needed", self.page_size),
            );
        }
        if self.commit == 0 || self.commit > PAGES_MAX {
            return wrong(12, format!("a database of {} pages: 1 to {PAGES_MAX} can be", self.commit));
        }
        if self.min_txid == 0 || self.max_txid < self.min_txid {
            return wrong(16, format!("transactions {} to {} are no range", self.min_txid, self.max_txid));
        }
        Ok(())
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let fields = [
            &MAGIC[..],
            &NO_DATABASE_CHECKSUM.to_be_bytes(),
            &self.page_size.to_be_bytes(),
            &self.commit.to_be_bytes(),
            &self.min_txid.to_be_bytes(),
            &self.max_txid.to_be_bytes(),
            &self.at_ms.to_be_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(fields.concat()) {
            *place = byte;
        }
        bytes
    }

    /// Reads and checks a header.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, LtxError> {
        if !bytes.starts_with(MAGIC) {
            return Err(LtxError::bad(0, "no LTX file: it does not begin with LTX1"));
        }
        let flags = u32_at(bytes, 4);
        if flags != NO_DATABASE_CHECKSUM {
            return Err(LtxError::bad(
                4,
                format!("flags {flags:#x} are not known, only {NO_DATABASE_CHECKSUM:#x}"),
            ));
        }
        if u64_at(bytes, 40) != 0 {
            return Err(LtxError::bad(
                40,
                "a checksum of the database, although its flag says that there is none",
            ));
        }
        let header = Self {
            page_size: u32_at(bytes, 8),
            commit: u32_at(bytes, 12),
            min_txid: u64_at(bytes, 16),
            max_txid: u64_at(bytes, 24),
            at_ms: u64_at(bytes, 32).cast_signed(),
        };
        header.check()?;
        Ok(header)
    }
}

/// Big-endian integers; zero beyond the end, which no caller reaches.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_be_bytes(*field))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u64::from_be_bytes(*field))
}

/// An entry of the index.
pub(super) fn push_entry(index: &mut Vec<u8>, page: u32, offset: u64, size: u64) {
    for mut number in [u64::from(page), offset, size] {
        while number >= 0x80 {
            let [low, ..] = number.to_le_bytes();
            index.push(low | 0x80);
            number >>= 7;
        }
        let [last, ..] = number.to_le_bytes();
        index.push(last);
    }
}

/// CRC-64/GO-ISO over what a file holds, as Go's `hash/crc64` computes it.
pub(super) struct Sum(Digest);

impl Sum {
    pub(super) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum as it is written: never zero, since its top bit is set.
    pub(super) fn value(&self) -> u64 {
        self.0.finalize() | 1 << 63
    }
}
