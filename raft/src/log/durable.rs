//! How far the log was durable, said beside it: what tells a lost end from a torn one.
//!
//! A frame tells what was durable when it was written, so nothing in the segments speaks for the last of them. The
//! file `durable` does: twelve bytes, the number of the last frame known to be durable and the CRC32C of that. It is
//! written after each sync and not synced itself, which costs two microseconds; so after a power cut it may say too
//! little, never too much. A log that holds fewer frames has lost what it acknowledged: votes, or entries that no
//! file has yet and of which nothing else on this node knows.

use std::sync::Arc;

use super::{
    disk::{Disk, DiskFile},
    record::u64_at,
};
use crate::contract::Fault;

pub(super) const NAME: &str = "durable";

/// The open file.
pub(super) struct Durable(Arc<dyn DiskFile>);

impl Durable {
    /// Opens the file, which is made if it is not there, and reads it: 0 when it says nothing.
    pub(super) fn open(disk: &dyn Disk) -> Result<(Self, u64), Fault> {
        let attempt = |cause| Fault::new("open the record of what is durable in the log", cause);
        if !disk.names().map_err(attempt)?.iter().any(|name| name == NAME) {
            let made = Self(disk.create(NAME).map_err(attempt)?);
            made.note(0)?;
            made.0.sync_all().and_then(|()| disk.sync_names()).map_err(attempt)?;
            return Ok((made, 0));
        }
        let file = disk.open(NAME).map_err(attempt)?;
        let mut bytes = [0; 12];
        // Torn when it was made, or damaged: the log is then judged by its frames alone, as it was before.
        let read = file.read_at(0, &mut bytes).ok().and_then(|()| decode(&bytes));
        if read.is_none() {
            tracing::warn!(
                "the file {NAME:?} of the log says nothing: a lost end of it would not be noticed"
            );
        }
        Ok((Self(file), read.unwrap_or(0)))
    }

    /// Frame `number` is durable, and so are those before it.
    pub(super) fn note(&self, number: u64) -> Result<(), Fault> {
        let body = number.to_le_bytes();
        let bytes = [body.as_slice(), &crc32c::crc32c(&body).to_le_bytes()].concat();
        self.0.write_at(0, &bytes).map_err(|cause| Fault::new("note what is durable in the log", cause))
    }

    /// After an orderly stop it says all there is to say.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.0.sync_data().map_err(|cause| Fault::new("note for good what is durable in the log", cause))
    }
}

fn decode(bytes: &[u8; 12]) -> Option<u64> {
    let (body, sum) = bytes.split_at_checked(8)?;
    (crc32c::crc32c(body).to_le_bytes() == sum).then(|| u64_at(bytes, 0)).flatten()
}
