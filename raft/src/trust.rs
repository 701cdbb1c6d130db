//! Whom this node believes, and what it shows: one authority that issues its certificate, and others whose
//! certificates it accepts beside it while the cluster goes from one authority to the next.
//!
//! On disk: `pki/authority`, one file, mode 0600, sealed by the application's [`Safe`]: who has it can admit nodes.
//! A cluster that is between authorities has a longer form of it, told apart by its first bytes; before and after a
//! rotation the file holds the authority alone. Builds before wrote it unsealed: such a file is sealed when it is read.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Fault, NodeId, Safe},
    pki::{
        ALPN_JOIN, ALPN_PEER, Authority, Issued, hex, private_der, provider, root_store, sha256,
        write_durably,
    },
};

/// First bytes of a sealed file.
const SEALED: &[u8] = b"threatflow-sealed/1\n";
/// First bytes of the longer form. An authority alone begins with the length of its cluster's name.
const BETWEEN: &[u8] = b"threatflow-trust/1\n";

/// A step of the way from one authority to the next. Each is safe beside the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Both are trusted; certificates are of the old one.
    Trust,
    /// Both are trusted; certificates are of the new one.
    Issue,
    /// Only the new one is left.
    Forget,
}

/// The authority that issues, and further ones that are trusted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Trust {
    issuer: Authority,
    /// Their certificates (DER).
    also: Vec<Vec<u8>>,
}

/// What a node needs to speak and listen: both sides of mutual TLS 1.3.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    /// Judges the certificates that peers show.
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// When the certificate that this node shows ends.
    pub(crate) expires_ms: u64,
}

impl Trust {
    /// Trusts `issuer` alone.
    pub(crate) fn of(issuer: Authority) -> Self {
        Self { issuer, also: Vec::new() }
    }

    /// True when the folder holds one.
    pub(crate) fn exists(folder: &Path) -> bool {
        path(folder).exists()
    }

    /// Reads what a bootstrap, a join or a rotation has saved, and its seal: none when it lies open.
    pub(crate) fn read(folder: &Path, safe: &dyn Safe) -> Result<(Self, Option<Vec<u8>>), Fault> {
        let path = path(folder);
        let bytes = fs::read(&path).map_err(|e| Fault::new(format!("read {}", path.display()), e))?;
        let sealed = bytes.strip_prefix(SEALED);
        let trust = match sealed {
            Some(sealed) => safe.open(sealed).and_then(|plain| Self::from_bytes(&plain)),
            None => Self::from_bytes(&bytes),
        };
        let trust = trust.map_err(|why| {
            Fault::found(format!(
                "{} is damaged or of another time: {why}; put back a copy of it, of this node or of another member, \
                 or remove this node from the cluster and join it anew under a new number",
                path.display()
            ))
        })?;
        Ok((trust, sealed.map(<[u8]>::to_vec)))
    }

    /// As [`Trust::read`], for a node that starts: from now on it lies there under the newest key.
    pub(crate) fn load(folder: &Path, safe: &dyn Safe) -> Result<(Self, Vec<u8>), Fault> {
        let (trust, sealed) = Self::read(folder, safe)?;
        match sealed {
            Some(sealed) if safe.is_newest(&sealed) => return Ok((trust, sealed)),
            Some(_) => {}
            None => tracing::warn!(
                "the key of the cluster's authority lay unsealed in the data folder and is sealed now; copies of the \
                 folder made before still hold it: `threatflow cluster rotate-ca` makes them worthless"
            ),
        }
        let sealed = trust.save(folder, safe)?;
        Ok((trust, sealed))
    }

    /// Saves it, sealed, crash-safely and readable by the owner only; answers the seal.
    pub(crate) fn save(&self, folder: &Path, safe: &dyn Safe) -> Result<Vec<u8>, Fault> {
        let sealed = safe.seal(&self.to_bytes()?)?;
        write_durably(&path(folder), &[SEALED, &sealed].concat())
            .map_err(|e| Fault::new("save the authority", e))?;
        Ok(sealed)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes.strip_prefix(BETWEEN) {
            Some(both) => {
                postcard::from_bytes(both).map_err(|e| Fault::new("decode the cluster's authorities", e))
            }
            None => Authority::from_bytes(bytes).map(Self::of),
        }
    }

    fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        if !self.is_between() {
            return self.issuer.to_bytes();
        }
        let both = postcard::to_stdvec(self).map_err(|e| Fault::new("encode the authorities", e))?;
        Ok([BETWEEN, &both].concat())
    }

    /// The authority that issues.
    pub(crate) fn issuer(&self) -> &Authority {
        &self.issuer
    }

    /// Whether more than one authority is trusted.
    pub(crate) fn is_between(&self) -> bool {
        !self.also.is_empty()
    }

    /// SHA-256 of every trusted authority's certificate (hexadecimal), the issuer's first.
    pub(crate) fn trusted(&self) -> Vec<String> {
        let also = self.also.iter().map(|certificate| hex(&sha256(certificate)));
        std::iter::once(hex(&self.issuer.fingerprint())).chain(also).collect()
    }

    /// This trust at a step of the way from the authority with the certificate `old` to `new`.
    pub(crate) fn at(&self, step: Step, old: &[u8], new: &Authority) -> Self {
        let issues = self.issuer.fingerprint() == new.fingerprint();
        match step {
            // Nobody goes back.
            Step::Trust if !issues => {
                Self { issuer: self.issuer.clone(), also: vec![new.certificate().to_vec()] }
            }
            Step::Trust => self.clone(),
            Step::Issue => Self { issuer: new.clone(), also: vec![old.to_vec()] },
            Step::Forget => Self::of(new.clone()),
        }
    }

    /// Issues this node a certificate and makes both TLS configurations with it.
    pub(crate) fn issue(&self, node: NodeId) -> Result<Tls, Fault> {
        let Issued { chain, key, expires_ms } = self.issuer.issue(node)?;
        let roots = Arc::new(self.roots()?);
        let tls = |e: rustls::Error| Fault::new("configure TLS", e);

        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .allow_unauthenticated() // a joiner has none yet; server.rs lets it do nothing but join
            .build()
            .map_err(|e| Fault::new("configure TLS", e))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain.clone(), private_der(&key)?)
            .map_err(tls)?;
        server.alpn_protocols = vec![ALPN_PEER.to_vec(), ALPN_JOIN.to_vec()];

        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private_der(&key)?)
            .map_err(tls)?;
        client.alpn_protocols = vec![ALPN_PEER.to_vec()];
        Ok(Tls { server: Arc::new(server), client: Arc::new(client), verifier, expires_ms })
    }

    fn roots(&self) -> Result<RootCertStore, Fault> {
        let broken = |e| Fault::new("trust the cluster's authority", e);
        let own = CertificateDer::from(self.issuer.certificate().to_vec());
        let mut roots = root_store(own).map_err(broken)?;
        for certificate in &self.also {
            roots.add(CertificateDer::from(certificate.clone())).map_err(broken)?;
        }
        Ok(roots)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("pki").join("authority")
}

/// Seals nothing: for tests of what is above and below.
#[cfg(test)]
pub(crate) struct Unsealed;

#[cfg(test)]
impl Safe for Unsealed {
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(plain.to_vec())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(sealed.to_vec())
    }

    fn is_newest(&self, _: &[u8]) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{Step, Trust, Unsealed, path};
    use crate::{
        contract::{Fault, Safe},
        pki::Authority,
    };

    #[test]
    fn what_is_saved_between_authorities_reads_back_and_before_and_after_it_is_one_authority() {
        let folder = tempfile::tempdir().unwrap();
        let old = Authority::create().unwrap();
        let new = old.successor().unwrap();
        let mut trust = Trust::of(old.clone());
        for (step, trusted) in [(Step::Trust, 2), (Step::Issue, 2), (Step::Trust, 2), (Step::Forget, 1)] {
            trust = trust.at(step, old.certificate(), &new);
            trust.save(folder.path(), &Unsealed).unwrap();
            let (read, _) = Trust::load(folder.path(), &Unsealed).unwrap();
            assert_eq!(read.trusted(), trust.trusted());
            assert_eq!(trust.trusted().len(), trusted, "{step:?}");
            // What a build before wrote.
            fs::write(path(folder.path()), trust.to_bytes().unwrap()).unwrap();
            let (read, sealed) = Trust::read(folder.path(), &Unsealed).unwrap();
            assert_eq!((read.trusted(), sealed), (trust.trusted(), None));
            Trust::load(folder.path(), &Unsealed).unwrap();
            let (_, sealed) = Trust::read(folder.path(), &Unsealed).unwrap();
            assert_eq!(sealed, Some(trust.to_bytes().unwrap()), "sealed in place");
        }
        let plain = trust.to_bytes().unwrap();
        assert_eq!(Authority::from_bytes(&plain).unwrap().fingerprint(), new.fingerprint());
        assert_eq!(new.cluster(), old.cluster(), "names of nodes stay");
    }

    /// Has lost its keys.
    struct Shut;

    impl Safe for Shut {
        fn seal(&self, _: &[u8]) -> Result<Vec<u8>, Fault> {
            Err(Fault::found("there is no key"))
        }

        fn open(&self, _: &[u8]) -> Result<Vec<u8>, Fault> {
            Err(Fault::found("there is no key"))
        }

        fn is_newest(&self, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn what_does_not_open_is_named_with_the_cure_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        Trust::of(Authority::create().unwrap()).save(folder.path(), &Unsealed).unwrap();
        let sound = fs::read(&path).unwrap();
        for (bytes, why) in [(sound.as_slice(), "no key"), (b"", "decode"), (b"threatfl", "decode")] {
            fs::write(&path, bytes).unwrap();
            let said = Trust::load(folder.path(), &Shut).err().unwrap().to_string();
            assert!(said.starts_with(&path.display().to_string()) && said.contains(why), "{said}");
            assert!(said.contains("; put back a copy of it") && said.lines().count() == 1, "{said}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
