//! Certificates of a running replica: what it shows, whom it trusts, and how both change.

use std::path::Path;

use serde::Serialize;

use crate::{
    contract::{Fault, Safe},
    pki::{Authority, hex},
    replica::{Core, Replica},
    trust::{Step, Trust},
};

/// The certificates of a node, at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct Certificates {
    /// SHA-256 of the certificate of the authority that issued this node's (hexadecimal).
    pub authority: String,
    /// When that authority's own certificate ends, milliseconds since the epoch.
    pub authority_expires_ms: u64,
    /// When the certificate that this node shows ends.
    pub expires_ms: u64,
    /// Every authority that this node trusts: one, and two while the cluster changes it.
    pub trusted: Vec<String>,
}

/// An authority that has been made and issues nothing yet.
pub struct NewAuthority {
    /// SHA-256 of its certificate (hexadecimal).
    pub fingerprint: String,
    /// The certificate (DER) of the one it is to follow.
    pub old: Vec<u8>,
    /// The authority with its key: to be sealed.
    pub secret: Vec<u8>,
}

pub(crate) fn certificates(core: &Core) -> Certificates {
    let identity = core.peers.identity();
    let issuer = identity.trust.issuer();
    Certificates {
        authority: hex(&issuer.fingerprint()),
        authority_expires_ms: issuer.expires_ms().unwrap_or_default(),
        expires_ms: identity.tls.expires_ms,
        trusted: identity.trust.trusted(),
    }
}

impl Replica {
    /// What this node shows to its peers, and whom it trusts.
    pub fn certificates(&self) -> Certificates {
        certificates(&self.core)
    }

    /// Issues this node a fresh certificate; connections made from now on use it, those that are open stay.
    pub fn renew_certificate(&self) -> Result<(), Fault> {
        self.core.peers.renew()
    }

    /// Makes an authority that can follow the present one. It means nothing before [`Replica::turn_authority`].
    pub fn new_authority(&self) -> Result<NewAuthority, Fault> {
        let identity = self.core.peers.identity();
        let old = identity.trust.issuer();
        let new = old.successor()?;
        Ok(NewAuthority {
            fingerprint: hex(&new.fingerprint()),
            old: old.certificate().to_vec(),
            secret: new.to_bytes()?,
        })
    }

    /// Brings this node to a step of the way from the authority with the certificate `old` to the one in `secret`,
    /// on disk first; false when it is there already. Peers that show what is no longer trusted are hung up on.
    ///
    /// Steps may be repeated. A step is safe once every member is at the one before it.
    pub fn turn_authority(&self, step: Step, old: &[u8], secret: &[u8]) -> Result<bool, Fault> {
        let new = Authority::from_bytes(secret)?;
        let core = &self.core;
        core.peers.turn(&core.config.folder, core.application.safe(), |trust| trust.at(step, old, &new))
    }

    /// Whether the authority lies on disk under the newest key of the [`Safe`](crate::Safe).
    pub fn is_authority_resealed(&self) -> bool {
        self.core.application.safe().is_newest(&self.core.peers.identity().sealed)
    }

    /// Seals the authority on disk under the newest key, if it is not.
    pub fn reseal_authority(&self) -> Result<(), Fault> {
        self.core.peers.reseal(&self.core.config.folder, self.core.application.safe())
    }

    /// Whether the authority in the folder of a node, running or not, is sealed; an error says why it does not open.
    pub fn keeps_authority_sealed(folder: &Path, safe: &dyn Safe) -> Result<bool, Fault> {
        Trust::read(folder, safe).map(|(_, sealed)| sealed.is_some())
    }
}
