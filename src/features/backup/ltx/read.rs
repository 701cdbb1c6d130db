//! Reading a file: from any source, once through, nothing in it believed.

use std::io::{self, BufReader, ErrorKind, Read};

use super::{
    Header, LtxError,
    format::{
        HEADER_BYTES, PAGE_HEADER_BYTES, Sum, TRAILER_BYTES, lock_page, page_after, push_entry, u32_at,
        u64_at,
    },
    frame,
};

/// Small, because a restore reads many files at once.
const BUFFER_BYTES: usize = 16 << 10;
/// Flag of a page: it is an LZ4 block, with its length before it.
const BLOCK: u32 = 1;

/// What a file may claim.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages of the database.
    pub pages: u32,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Default for Limits {
    /// A database of a tebibyte in pages of 4 KiB.
    fn default() -> Self {
        Self { pages: 1 << 28, bytes: 2 << 40 }
    }
}

/// Reads one file.
pub struct Decoder<R> {
    input: Counted<R>,
    header: Header,
    sum: Sum,
    /// The index as it must be written behind the pages.
    index: Vec<u8>,
    page: Vec<u8>,
    packed: Vec<u8>,
    last: u32,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Begins to read; the header is known, and checked, afterwards.
    pub fn new(input: R, limits: Limits) -> Result<Self, LtxError> {
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        let mut input = Counted { input, at: 0, stop: limits.bytes };
        let mut head = [0; HEADER_BYTES];
        input.exactly(&mut head)?;
        let header = Header::parse(&head)?;
        if header.commit > limits.pages {
            let what = format!("a database of {} pages; at most {} are read", header.commit, limits.pages);
            return Err(LtxError::bad(12, what));
        }
        let mut sum = Sum::new();
        sum.add(&head);
        let page = vec![0; header.page_size as usize];
        Ok(Self { input, header, sum, index: Vec::new(), page, packed: Vec::new(), last: 0, ended: false })
    }

    /// What the file says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Goes to the next page and answers its number. `None` means that there is none, and that everything up to
    /// the last byte of the file is as it was written; until then no page is to be trusted.
    pub fn advance(&mut self) -> Result<Option<u32>, LtxError> {
        if self.ended {
            return Ok(None);
        }
        let begin = self.input.at;
        let mut head = [0; PAGE_HEADER_BYTES];
        self.take(&mut head)?;
        let (page, flags) = (u32_at(&head, 0), u32_at(&head, 2) & 0xffff);
        if head == [0; PAGE_HEADER_BYTES] {
            self.end()?;
            self.ended = true;
            return Ok(None);
        }
        self.check(page, begin)?;
        self.read_page(flags, begin)?;
        self.sum.add(&self.page);
        push_entry(&mut self.index, page, begin, self.input.at - begin);
        self.last = page;
        Ok(Some(page))
    }

    /// The page that `advance` went to.
    pub fn page(&self) -> &[u8] {
        &self.page
    }

    /// Reads to the end; answers the pages.
    pub fn verify(mut self) -> Result<u32, LtxError> {
        let mut pages = 0;
        while self.advance()?.is_some() {
            pages += 1;
        }
        Ok(pages)
    }

    fn check(&self, page: u32, at: u64) -> Result<(), LtxError> {
        let Header { page_size, commit, .. } = self.header;
        let wrong = |what| Err(LtxError::bad(at, what));
        if page == 0 || page > commit {
            return wrong(format!("page {page} of a database of {commit}"));
        }
        if page <= self.last {
            return wrong(format!("page {page} after page {}", self.last));
        }
        if page == lock_page(page_size) {
            return wrong(format!("page {page} is the lock page, which has no content"));
        }
        let expected = page_after(self.last, page_size);
        if self.header.is_snapshot() && page != expected {
            return wrong(format!("page {page} of a snapshot where page {expected} is due"));
        }
        Ok(())
    }

    fn read_page(&mut self, flags: u32, begin: u64) -> Result<(), LtxError> {
        let read = match flags {
            0 => frame::read(&mut self.input, &mut self.packed, &mut self.page),
            BLOCK => {
                let mut length = [0; 4];
                self.take(&mut length)?;
                let length = u32_at(&length, 0) as usize;
                frame::unpack(&mut self.input, length, &mut self.packed, &mut self.page)
            }
            _ => Err(io::Error::new(ErrorKind::InvalidData, format!("a page with flags {flags:#06x}"))),
        };
        read.map_err(|error| self.input.error(begin, error))
    }

    /// The index, the trailer and the end of the file.
    fn end(&mut self) -> Result<(), LtxError> {
        let expected = page_after(self.last, self.header.page_size);
        if self.header.is_snapshot() && expected <= self.header.commit {
            let at = self.input.at - PAGE_HEADER_BYTES as u64;
            return Err(LtxError::bad(at, format!("a snapshot ends where page {expected} is due")));
        }
        let mut index = std::mem::take(&mut self.index);
        index.push(0);
        let length = (index.len() as u64).to_be_bytes();
        self.expect(&index, "the index does not fit the pages")?;
        self.expect(&length, "the length of the index does not fit")?;
        self.expect(&[0; 8], "a checksum of the database, although the header says that there is none")?;
        let at = self.input.at;
        let mut sum = [0; TRAILER_BYTES - 8];
        self.input.exactly(&mut sum)?;
        if u64_at(&sum, 0) != self.sum.value() {
            return Err(LtxError::bad(at, "the checksum of the file does not fit its content"));
        }
        match self.input.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(LtxError::bad(self.input.at, "the file goes on after its end")),
            Err(cause) => Err(LtxError::Io { at: self.input.at, cause }),
        }
    }

    /// Reads `bytes` that are known beforehand.
    fn expect(&mut self, bytes: &[u8], otherwise: &str) -> Result<(), LtxError> {
        let mut read = [0; 256];
        for part in bytes.chunks(read.len()) {
            let begin = self.input.at;
            let Some(read) = read.get_mut(..part.len()) else { continue };
            self.take(read)?;
            if let Some(at) = read.iter().zip(part).position(|(read, due)| read != due) {
                return Err(LtxError::bad(begin + at as u64, otherwise));
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), LtxError> {
        self.input.exactly(bytes)?;
        self.sum.add(bytes);
        Ok(())
    }
}

/// A source that knows how far it was read, and ends where the limit is.
struct Counted<R> {
    input: BufReader<R>,
    at: u64,
    stop: u64,
}

impl<R: Read> Counted<R> {
    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), LtxError> {
        let begin = self.at;
        self.read_exact(bytes).map_err(|error| self.error(begin, error))
    }

    /// What `error`, found in a part that begins at `begin`, says about the file.
    fn error(&self, begin: u64, error: io::Error) -> LtxError {
        match error.kind() {
            ErrorKind::UnexpectedEof => LtxError::bad(self.at, "the file ends here, too early"),
            ErrorKind::InvalidData => LtxError::bad(begin, error.to_string()),
            _ => LtxError::Io { at: self.at, cause: error },
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.stop - self.at).unwrap_or(usize::MAX);
        if left == 0 && !bytes.is_empty() {
            let what = format!("more than {} bytes", self.stop);
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        let wanted = bytes.len().min(left);
        let read = self.input.read(bytes.get_mut(..wanted).unwrap_or_default())?;
        self.at += read as u64;
        Ok(read)
    }
}
