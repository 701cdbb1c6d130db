//! Many files as one: page by page, where the newest wins. What restore and compaction share.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{Decoder, Encoder, Header, Limits, LtxError, format::page_after};

/// Files merged at a time: bounds open files and memory (some 30 KiB each), however long a chain is.
const FILES_AT_ONCE: usize = 64;

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the database.
    pub pages: u32,
    /// The last transaction in it.
    pub txid: u64,
    /// When that was made, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// Merges `inputs`, oldest first, into one file of a higher level: from the first transaction of the first to the
/// last of the last. A page beyond the database's last size is dropped.
pub fn compact<R: Read, W: Write>(
    inputs: Vec<R>,
    limits: Limits,
    out: W,
) -> Result<(W, Header, u64), LtxError> {
    let inputs =
        inputs.into_iter().map(|input| Decoder::new(input, limits)).collect::<Result<Vec<_>, _>>()?;
    let header = joined(inputs.iter().map(Decoder::header))?;
    let mut encoder = Encoder::new(out, header)?;
    merge(inputs, header.commit, |page, bytes| encoder.page(page, bytes))?;
    let (out, bytes) = encoder.finish()?;
    Ok((out, header, bytes))
}

/// Writes the database that `files`, oldest first, make up into `to`, which is empty; and syncs it. The first must be a
/// snapshot. Until this answers, what is in `to` is no database: the caller gives it its name afterwards.
pub fn restore(files: &[impl AsRef<Path>], limits: Limits, to: &File) -> Result<Restored, LtxError> {
    let open = |path: &Path| {
        let file = File::open(path).map_err(|cause| LtxError::Io { at: 0, cause })?;
        Decoder::new(file, limits)
    };
    let mut headers = Vec::with_capacity(files.len());
    for file in files {
        headers.push(*open(file.as_ref())?.header());
    }
    let whole = joined(headers.iter())?;
    if !whole.is_snapshot() {
        return Err(LtxError::bad(
            16,
            format!("the first file begins at transaction {}, not at 1", whole.min_txid),
        ));
    }
    let mut written = Pages::default();
    for files in files.chunks(FILES_AT_ONCE) {
        let inputs = files.iter().map(|file| open(file.as_ref())).collect::<Result<Vec<_>, _>>()?;
        merge(inputs, whole.commit, |page, bytes| {
            let at = u64::from(page - 1) * u64::from(whole.page_size);
            to.write_all_at(bytes, at).map_err(|cause| LtxError::Io { at, cause })?;
            written.add(page);
            Ok(())
        })?;
    }
    written.check(&whole)?;
    let bytes = u64::from(whole.commit) * u64::from(whole.page_size);
    to.set_len(bytes).and_then(|()| to.sync_all()).map_err(|cause| LtxError::Io { at: bytes, cause })?;
    Ok(Restored { page_size: whole.page_size, pages: whole.commit, txid: whole.max_txid, at_ms: whole.at_ms })
}

/// The header of all files together; an error when they do not follow each other.
fn joined<'h>(mut headers: impl Iterator<Item = &'h Header>) -> Result<Header, LtxError> {
    let mut whole = *headers.next().ok_or_else(|| LtxError::bad(0, "no files to merge"))?;
    for next in headers {
        if next.page_size != whole.page_size {
            let what = format!("pages of {} bytes follow pages of {}", next.page_size, whole.page_size);
            return Err(LtxError::bad(8, what));
        }
        // As litestream has it: a file may begin within what is there already, if it leads further.
        if next.min_txid > whole.max_txid.saturating_add(1) || next.max_txid <= whole.max_txid {
            let what = format!(
                "transactions {} to {} do not follow {}",
                next.min_txid, next.max_txid, whole.max_txid
            );
            return Err(LtxError::bad(16, what));
        }
        whole = Header { min_txid: whole.min_txid, ..*next };
    }
    Ok(whole)
}

/// Calls `each` with every page up to `commit`, ascending, as the last of `inputs` that has it holds it. All inputs are
/// read to their ends, so that each has been checked as a whole.
fn merge<R: Read>(
    mut inputs: Vec<Decoder<R>>,
    commit: u32,
    mut each: impl FnMut(u32, &[u8]) -> Result<(), LtxError>,
) -> Result<(), LtxError> {
    // The least page first, and of equal pages the newest input.
    let mut heads = BinaryHeap::with_capacity(inputs.len());
    for (place, input) in inputs.iter_mut().enumerate() {
        heads.extend(input.advance()?.map(|page| (Reverse(page), place)));
    }
    let mut done = 0;
    while let Some((Reverse(page), place)) = heads.pop() {
        let Some(input) = inputs.get_mut(place) else { continue };
        if page != done && page <= commit {
            each(page, input.page())?;
        }
        done = page;
        heads.extend(input.advance()?.map(|page| (Reverse(page), place)));
    }
    Ok(())
}

/// Which pages are there, a bit each.
#[derive(Default)]
struct Pages(Vec<u64>);

impl Pages {
    fn add(&mut self, page: u32) {
        let word = page as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (page % 64);
        }
    }

    fn has(&self, page: u32) -> bool {
        self.0.get(page as usize / 64).is_some_and(|word| word & 1 << (page % 64) != 0)
    }

    /// Every page of the database must be in some file.
    fn check(&self, whole: &Header) -> Result<(), LtxError> {
        let mut page = page_after(0, whole.page_size);
        while page <= whole.commit {
            if !self.has(page) {
                return Err(LtxError::bad(12, format!("page {page} of {} is in no file", whole.commit)));
            }
            page = page_after(page, whole.page_size);
        }
        Ok(())
    }
}
