//! LTX files: what changed in a database between two transactions, as pages. The format of litestream 0.5, so that
//! its unmodified `restore` reads what is written here.
//!
//! Owns the words *chain*, *level*, *snapshot* (a file that begins at transaction 1 and holds every page), *plan*.
//!
//! The format, every integer big-endian (source: the README and the reader of `superfly/ltx` v0.5.1 and v0.5.2):
//!
//! | bytes | what |
//! |---|---|
//! | 100 | `LTX1`, flags u32 = 2 (no checksum of the database), page size u32, pages of the database u32, first and last transaction u64, time i64 in ms, checksum before u64 = 0, four fields about a write-ahead log that we leave 0, zeros |
//! | a page | number u32, flags u16, then with flags 0 an LZ4 frame with content checksum, with flags 1 a length u32 and an LZ4 block |
//! | 6 | zeros: no more pages |
//! | the index | varints (page, offset, size)…, a varint 0, then the length of those bytes u64 |
//! | 16 | checksum after u64 = 0; CRC-64/GO-ISO, its top bit set, over all the above with pages as they are, not packed |
//!
//! What always holds: pages ascend; the page with the lock bytes of SQLite (at 1 GiB) is never written; equal pages
//! give equal bytes, whoever writes them; a page is only good once the end of its file was read, and that is checked
//! before a reader says that there are no more. Writers use LZ4 frames: litestream before 0.5.16 reads no blocks.
//!
//! Must not know: SQLite beyond the size of its pages, which are opaque (ours are encrypted); where files lie. Start
//! reading at `write.rs`; `merge.rs` is what restore and compaction share.

mod error;
mod format;
mod frame;
mod merge;
mod name;
mod plan;
mod read;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]
mod tests;
mod write;

pub use error::LtxError;
pub use format::{Header, lock_page};
pub use merge::{Restored, compact, restore};
pub use name::{Layout, LtxName, SNAPSHOT_LEVEL};
pub use plan::{Gap, plan};
pub use read::{Decoder, Limits};
pub use write::Encoder;
