//! The record of up to where the files are durable.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    contract::Fault,
    pki::write_durably,
    types::{LogId, StoredMembership},
};

/// What to do when log, record and files do not fit together.
pub(crate) const CURE: &str = "put back what is missing, or remove this node from the cluster, remove its data and join it under \
                    a new number";

/// Up to where the machine's files are durable.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) at_ms: u64,
    /// It came with a snapshot: the log may end before it.
    pub(crate) installed: bool,
    /// No entry that it covers has a later stamp: a leader whose log begins after it stamps no lower.
    pub(crate) newest_ms: u64,
}

impl Checkpoint {
    /// Index of the last entry it covers; 0 for none.
    pub(crate) fn index(&self) -> u64 {
        self.last.map_or(0, |last| last.index)
    }

    /// Where the record lies in a replica's folder.
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join("checkpoint")
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Fault::new(format!("read the checkpoint record {}", path.display()), error));
            }
        };
        let damaged = || Fault::found(format!("the checkpoint record {} is damaged; {CURE}", path.display()));
        let (sum, body) = bytes.split_at_checked(4).ok_or_else(damaged)?;
        if crc32c::crc32c(body).to_le_bytes() != sum {
            return Err(damaged());
        }
        // Records were once without their last field: it reads as zero.
        postcard::from_bytes(&[body, &[0]].concat()).map_err(|_| damaged())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Fault> {
        let body = postcard::to_stdvec(self).map_err(|e| Fault::new("encode the checkpoint record", e))?;
        let bytes = [crc32c::crc32c(&body).to_le_bytes().as_slice(), &body].concat();
        write_durably(path, &bytes)
            .map_err(|e| Fault::new(format!("write the checkpoint record {}", path.display()), e))
    }
}
