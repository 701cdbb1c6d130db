//! Writing a file: page after page to any sink. Kept in memory: the index, some ten bytes a page.

use std::io::Write;

use super::{
    Header, LtxError,
    format::{Sum, lock_page, page_after, push_entry},
    frame::Packer,
};

/// Writes one file. Without `finish` it is no file: readers find its end missing.
pub struct Encoder<W> {
    out: W,
    header: Header,
    packer: Packer,
    sum: Sum,
    index: Vec<u8>,
    at: u64,
    last: u32,
}

impl<W: Write> Encoder<W> {
    /// Begins a file with its header.
    pub fn new(out: W, header: Header) -> Result<Self, LtxError> {
        header.check()?;
        let packer = Packer::new(header.page_size);
        let mut encoder = Self { out, header, packer, sum: Sum::new(), index: Vec::new(), at: 0, last: 0 };
        encoder.put(&header.to_bytes())?;
        Ok(encoder)
    }

    /// Adds a page, which must come after those before it; in a snapshot no page may be left out. The lock page is
    /// passed over, so that a caller may simply go through all pages.
    pub fn page(&mut self, page: u32, bytes: &[u8]) -> Result<(), LtxError> {
        self.check(page, bytes)?;
        if page == lock_page(self.header.page_size) {
            return Ok(());
        }
        let begin = self.at;
        self.put(&page.to_be_bytes())?;
        self.put(&[0, 0])?;
        self.sum.add(bytes);
        let packed = self.packer.write(bytes, &mut self.out);
        self.at += packed.map_err(|cause| LtxError::Io { at: begin, cause })?;
        push_entry(&mut self.index, page, begin, self.at - begin);
        self.last = page;
        Ok(())
    }

    fn check(&self, page: u32, bytes: &[u8]) -> Result<(), LtxError> {
        let Header { page_size, commit, .. } = self.header;
        let wrong = |what| Err(LtxError::bad(self.at, what));
        if bytes.len() != page_size as usize {
            return wrong(format!("page {page} has {} bytes, a page has {page_size}", bytes.len()));
        }
        if page == 0 || page > commit {
            return wrong(format!("page {page} of a database of {commit}"));
        }
        if page <= self.last {
            return wrong(format!("page {page} after page {}", self.last));
        }
        let expected = page_after(self.last, page_size);
        if self.header.is_snapshot() && page != expected && page != lock_page(page_size) {
            return wrong(format!("page {page} of a snapshot where page {expected} is due"));
        }
        Ok(())
    }

    /// Ends the file; answers the sink and the bytes written. The sink is flushed, not synced.
    pub fn finish(mut self) -> Result<(W, u64), LtxError> {
        let expected = page_after(self.last, self.header.page_size);
        if self.header.is_snapshot() && expected <= self.header.commit {
            return Err(LtxError::bad(self.at, format!("a snapshot ends where page {expected} is due")));
        }
        let mut index = std::mem::take(&mut self.index);
        index.push(0);
        self.put(&[0; 6])?;
        self.put(&index)?;
        self.put(&(index.len() as u64).to_be_bytes())?;
        self.put(&[0; 8])?;
        let sum = self.sum.value();
        self.put(&sum.to_be_bytes())?;
        self.out.flush().map_err(|cause| LtxError::Io { at: self.at, cause })?;
        Ok((self.out, self.at))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), LtxError> {
        self.out.write_all(bytes).map_err(|cause| LtxError::Io { at: self.at, cause })?;
        self.sum.add(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}
