//! What is wrong with a file, and at which byte.

use std::{error::Error, fmt, io};

/// Why a file was not read or written.
#[derive(Debug)]
pub enum LtxError {
    /// The bytes are not what the format asks for: the file is damaged, cut short or something else.
    Bad {
        /// Offset of the byte that was looked at; for a checksum of the whole, where it is written.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// The source or the sink failed; nothing is said about the file.
    Io {
        /// Bytes read or written before.
        at: u64,
        /// What the system said.
        cause: io::Error,
    },
}

impl LtxError {
    pub(super) fn bad(at: u64, what: impl Into<String>) -> Self {
        Self::Bad { at, what: what.into() }
    }

    /// Whether the file itself is at fault, so that reading it again will not help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Bad { .. })
    }
}

impl fmt::Display for LtxError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { at, what } => write!(out, "LTX file, byte {at}: {what}"),
            Self::Io { at, cause } => write!(out, "LTX file, after byte {at}: {cause}"),
        }
    }
}

impl Error for LtxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bad { .. } => None,
            Self::Io { cause, .. } => Some(cause),
        }
    }
}
