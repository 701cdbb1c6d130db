//! One page as one LZ4 frame (the LZ4 frame format 1.6.x: magic, descriptor, blocks, end mark, content checksum).
//!
//! Written and read here rather than by a streaming coder: a page is one block, so that nothing is buffered, no
//! claim of a frame about its sizes is believed, and what is wrong has a place.

use std::{
    hash::Hasher,
    io::{self, Read, Write},
};

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, blocks independent, a checksum of the content; blocks up to 64 KiB; and the checksum of those two.
const DESCRIPTOR: [u8; 3] = [0x64, 0x40, 0xa7];
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
/// The top bit of a block's length: the block is stored as it is.
const STORED: u32 = 1 << 31;

/// Packs pages, one after another; the state between them is only memory that need not be asked for again.
pub(super) struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

impl Packer {
    pub(super) fn new(page_size: u32) -> Self {
        let bytes = get_maximum_output_size(page_size as usize);
        Self { table: CompressTable::default(), packed: vec![0; bytes] }
    }

    /// Writes `page` as a frame; answers its bytes.
    pub(super) fn write(&mut self, page: &[u8], out: &mut impl Write) -> io::Result<u64> {
        let length =
            compress_into_with_table(page, &mut self.packed, &mut self.table).map_err(io::Error::other)?;
        let (stored, block) = match self.packed.get(..length) {
            Some(block) if length < page.len() => (0, block),
            _ => (STORED, page),
        };
        let length = stored | u32::try_from(block.len()).map_err(io::Error::other)?;
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &DESCRIPTOR,
            &length.to_le_bytes(),
            block,
            &0u32.to_le_bytes(),
            &XxHash32::oneshot(0, page).to_le_bytes(),
        ];
        let mut written = 0;
        for part in parts {
            out.write_all(part)?;
            written += part.len() as u64;
        }
        Ok(written)
    }
}

/// A frame that is none of ours, or damaged. Told from failures of the source by its kind.
fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads a frame that holds exactly `page`; `packed` is memory for the block.
pub(super) fn read(input: &mut impl Read, packed: &mut Vec<u8>, page: &mut [u8]) -> io::Result<()> {
    read_descriptor(input, page.len())?;
    let length = read_u32(input)?;
    let stored = length & STORED != 0;
    let length = (length & !STORED) as usize;
    if length > page.len() || stored && length != page.len() {
        return Err(wrong(format!("an LZ4 block of {length} bytes in a page of {}", page.len())));
    }
    if stored {
        input.read_exact(page)?;
    } else {
        unpack(input, length, packed, page)?;
    }
    if read_u32(input)? != 0 {
        return Err(wrong("an LZ4 frame with more than one block"));
    }
    if read_u32(input)? != XxHash32::oneshot(0, page) {
        return Err(wrong("the checksum of an LZ4 frame does not fit its content"));
    }
    Ok(())
}

/// Reads an LZ4 block of `length` bytes that holds exactly `page`.
pub(super) fn unpack(
    input: &mut impl Read,
    length: usize,
    packed: &mut Vec<u8>,
    page: &mut [u8],
) -> io::Result<()> {
    // What cannot be compressed grows by a byte in 255 and a little; more is a lie.
    if length > page.len() + page.len() / 255 + 16 {
        return Err(wrong(format!("an LZ4 block of {length} bytes for a page of {}", page.len())));
    }
    packed.resize(length, 0);
    input.read_exact(packed)?;
    match decompress_into(packed, page) {
        Ok(bytes) if bytes == page.len() => Ok(()),
        Ok(bytes) => Err(wrong(format!("an LZ4 block holds {bytes} bytes, a page has {}", page.len()))),
        Err(error) => Err(wrong(format!("an LZ4 block does not unpack: {error}"))),
    }
}

fn read_descriptor(input: &mut impl Read, page_bytes: usize) -> io::Result<()> {
    let mut head = [0; 6];
    input.read_exact(&mut head)?;
    let [magic @ .., flags, blocks] = head;
    if magic != MAGIC {
        return Err(wrong("no LZ4 frame"));
    }
    let known = VERSION_MASK | INDEPENDENT | CONTENT_SIZE | CONTENT_CHECKSUM;
    if flags & !known != 0 || flags & VERSION_MASK != VERSION || flags & CONTENT_CHECKSUM == 0 {
        return Err(wrong(format!("an LZ4 frame with flags {flags:#04x}")));
    }
    let mut hash = XxHash32::with_seed(0);
    hash.write(&[flags, blocks]);
    if flags & CONTENT_SIZE != 0 {
        let mut size = [0; 8];
        input.read_exact(&mut size)?;
        if u64::from_le_bytes(size) != page_bytes as u64 {
            return Err(wrong("an LZ4 frame of another size than a page"));
        }
        hash.write(&size);
    }
    let mut check = [0];
    input.read_exact(&mut check)?;
    let [_, second, ..] = hash.finish_32().to_le_bytes();
    if check != [second] {
        return Err(wrong("the checksum of an LZ4 frame's descriptor does not fit"));
    }
    Ok(())
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
