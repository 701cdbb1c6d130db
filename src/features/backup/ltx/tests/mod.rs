//! The format against a writer that is not ours, against damage, and against itself.

mod codec;
mod merging;
mod planning;

use super::{Encoder, Header};

/// What the reference writer of the format made, in both encodings: 3 pages of 512 bytes, transactions 1 to 9.
const FRAMES: &[u8] = include_bytes!("../../../../../fuzz/seeds/ltx/frames.ltx");
/// The same of pages that cannot be compressed: two compressors need not agree, but these are stored as they are.
const STORED: &[u8] = include_bytes!("../../../../../fuzz/seeds/ltx/stored.ltx");
const BLOCKS: &[u8] = include_bytes!("../../../../../fuzz/seeds/ltx/blocks.ltx");

/// A generator of its own: the same cases on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A page that cannot be compressed, one that can, or an empty one.
    fn page(&mut self, size: u32) -> Vec<u8> {
        match self.below(4) {
            0 => vec![0; size as usize],
            1 => b"organization "
                .iter()
                .copied()
                .cycle()
                .skip(self.below(9) as usize)
                .take(size as usize)
                .collect(),
            _ => noise(self.below(1 << 30), size),
        }
    }
}

fn noise(seed: u64, size: u32) -> Vec<u8> {
    let mut state = seed + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(size as usize).collect()
}

fn header(page_size: u32, commit: u32, min_txid: u64, max_txid: u64) -> Header {
    Header { page_size, commit, min_txid, max_txid, at_ms: 1_700_000_000_123 }
}

fn file(header: Header, pages: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), header).unwrap();
    for (page, bytes) in pages {
        encoder.page(*page, bytes).unwrap();
    }
    let (bytes, written) = encoder.finish().unwrap();
    assert_eq!(bytes.len() as u64, written);
    bytes
}
