//! Links: single-use tokens that stand for an invitation or a new password.
//!
//! `tfl_` and 96 hexadecimal digits: the organization's id, so that its file is found, and 256 random bits. Only the
//! digest of those bits is stored and logged.

use std::{fmt, str::FromStr};

use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::kernel::{OrgId, Secret, from_hex, to_hex};

/// Random bytes of a link.
pub const LINK_SECRET_BYTES: usize = 32;
const PREFIX: &str = "tfl_";

/// A link before it is written down, or after it has come back.
pub struct Link {
    /// The organization whose file knows it.
    pub organization: OrgId,
    secret: Secret<[u8; LINK_SECRET_BYTES]>,
}

impl Link {
    /// A link of random bytes drawn at the edge.
    pub fn new(organization: OrgId, secret: [u8; LINK_SECRET_BYTES]) -> Self {
        Self { organization, secret: Secret::new(secret) }
    }

    /// What is stored of it (hexadecimal).
    pub fn digest(&self) -> String {
        to_hex(digest(&SHA256, self.secret.reveal()).as_ref())
    }

    /// The text for the person it is meant for. Shown once.
    pub fn text(&self) -> Secret<String> {
        let head = to_hex(self.organization.0.as_bytes());
        Secret::new(format!("{PREFIX}{head}{}", to_hex(self.secret.reveal())))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Link of {}", self.organization)
    }
}

impl FromStr for Link {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = from_hex(text.strip_prefix(PREFIX).ok_or(())?).ok_or(())?;
        let (head, secret) = bytes.split_at_checked(16).ok_or(())?;
        let organization = OrgId(Uuid::from_slice(head).map_err(|_| ())?);
        Ok(Self::new(organization, secret.try_into().map_err(|_| ())?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_link_reads_as_it_was_written_and_nothing_else_does() {
        let link = Link::new(OrgId(Uuid::from_u128(7)), [9; LINK_SECRET_BYTES]);
        let text = link.text();
        let read: Link = text.reveal().parse().unwrap();
        assert_eq!((read.organization, read.digest()), (link.organization, link.digest()));
        assert!(!link.digest().contains(&to_hex(&[9; 8])));
        for wrong in ["", "tfl_", "tfl_00", &text.reveal()[4..], &format!("{}0", text.reveal()), "tfl_ä"] {
            assert!(wrong.parse::<Link>().is_err(), "{wrong}");
        }
    }
}
