//! The cluster's certificate authority, and the certificate each node makes for itself from it.
//!
//! Every member holds the authority's key, because every member may admit the next one. So a node never
//! stores its own certificate: it issues a fresh one whenever it starts and again every month, and the
//! private key lives in memory only. What is on disk is `pki/authority`, one file, mode 0600.
//!
//! What a certificate proves: it chains to this cluster's authority (made at bootstrap, unique), and its
//! name `node-<id>.<cluster>.threatflow.internal` says which node holds it.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::system_ms,
    contract::{Fault, NodeId},
};

/// Protocol of members among themselves: both sides show a certificate.
pub(crate) const ALPN_PEER: &[u8] = b"threatflow-peer/1";
/// Protocol of the join exchange: only the member shows a certificate.
pub(crate) const ALPN_JOIN: &[u8] = b"threatflow-join/1";
/// A name every member's certificate carries: a joiner does not know which member it reaches.
const ANY_MEMBER: &str = "member.threatflow.internal";
/// How long a running node uses one certificate.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(30 * DAY_S);
const DAY_S: u64 = 86_400;
const CA_DAYS: u64 = 3_653;
const NODE_DAYS: u64 = 366;

/// The cluster's certificate authority: who holds it can admit nodes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Authority {
    cluster: String,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What a node needs to speak and listen: both sides of mutual TLS 1.3.
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Authority {
    /// Makes the authority of a new cluster.
    pub(crate) fn create() -> Result<Self, Fault> {
        let cluster = random_hex::<8>()?;
        let key = KeyPair::generate().map_err(|e| Fault::new("make the authority's key", e))?;
        let mut params = authority_params(&cluster)?;
        (params.not_before, params.not_after) = lifetime(CA_DAYS);
        let certificate = params.self_signed(&key).map_err(|e| Fault::new("sign the authority", e))?;
        Ok(Self { cluster, certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// True when the folder holds an authority.
    pub(crate) fn exists(folder: &Path) -> bool {
        path(folder).exists()
    }

    /// Reads the authority a bootstrap or join has saved.
    pub(crate) fn load(folder: &Path) -> Result<Self, Fault> {
        let path = path(folder);
        let bytes = fs::read(&path)
            .map_err(|e| Fault::new(format!("read the cluster's authority {}", path.display()), e))?;
        postcard::from_bytes(&bytes)
            .map_err(|e| Fault::new(format!("decode the cluster's authority {}", path.display()), e))
    }

    /// Saves the authority, crash-safely and readable by the owner only.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), Fault> {
        let bytes = postcard::to_stdvec(self).map_err(|e| Fault::new("encode the authority", e))?;
        write_durably(&path(folder), &bytes).map_err(|e| Fault::new("save the authority", e))
    }

    /// SHA-256 of the authority's certificate: what a token pins.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// The cluster's name, random, made at bootstrap.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Issues a certificate to this node and makes both TLS configurations with it.
    pub(crate) fn issue(&self, node: NodeId) -> Result<Tls, Fault> {
        let key = KeyPair::generate().map_err(|e| Fault::new("make a node key", e))?;
        let certificate = self.sign(node, &key)?;
        let chain = vec![certificate, CertificateDer::from(self.certificate.clone())];
        let private = key.serialize_der();
        let roots = Arc::new(self.roots()?);
        let tls = |e: rustls::Error| Fault::new("configure TLS", e);

        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .allow_unauthenticated() // a joiner has none yet; server.rs lets it do nothing but join
            .build()
            .map_err(|e| Fault::new("configure TLS", e))?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private_der(&private)?)
            .map_err(tls)?;
        server.alpn_protocols = vec![ALPN_PEER.to_vec(), ALPN_JOIN.to_vec()];

        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private_der(&private)?)
            .map_err(tls)?;
        client.alpn_protocols = vec![ALPN_PEER.to_vec()];
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The name the certificate of `node` proves.
    pub(crate) fn name_of(&self, node: NodeId) -> Result<ServerName<'static>, Fault> {
        ServerName::try_from(self.host_of(node)).map_err(|e| Fault::new("name a node", e))
    }

    fn host_of(&self, node: NodeId) -> String {
        format!("node-{node}.{}.threatflow.internal", self.cluster)
    }

    fn roots(&self) -> Result<RootCertStore, Fault> {
        root_store(CertificateDer::from(self.certificate.clone()))
            .map_err(|e| Fault::new("trust the cluster's authority", e))
    }

    fn sign(&self, node: NodeId, key: &KeyPair) -> Result<CertificateDer<'static>, Fault> {
        let broken = |e: rcgen::Error| Fault::new("issue a node certificate", e);
        let mut params =
            CertificateParams::new(vec![self.host_of(node), ANY_MEMBER.to_owned()]).map_err(broken)?;
        params.distinguished_name.push(DnType::CommonName, format!("node {node}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = lifetime(NODE_DAYS);
        let signer = KeyPair::try_from(self.key.as_slice()).map_err(broken)?;
        let issuer = Issuer::new(authority_params(&self.cluster)?, signer);
        let certificate = params.signed_by(key, &issuer).map_err(broken)?;
        Ok(certificate.der().clone())
    }
}

/// The name a joiner asks the member it reaches to prove.
pub(crate) fn any_member() -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(ANY_MEMBER).map_err(|e| Fault::new("name a member", e))
}

/// A store that trusts one certificate.
pub(crate) fn root_store(certificate: CertificateDer<'static>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    Ok(roots)
}

/// The one crypto stack of the product.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}

/// `BYTES` random bytes in hexadecimal.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, Fault> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::found("the system's randomness failed"))?;
    Ok(hex(&bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a String cannot fail
        out
    })
}

/// Bytes of a hexadecimal text.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Writes a file so that a crash leaves the old content or the new, mode 0600.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(folder)?.sync_all()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("pki").join("authority")
}

fn private_der(key: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::try_from(key.to_vec()).map_err(Fault::found)
}

fn authority_params(cluster: &str) -> Result<CertificateParams, Fault> {
    let mut params =
        CertificateParams::new(Vec::new()).map_err(|e| Fault::new("describe the authority", e))?;
    params.distinguished_name.push(DnType::CommonName, format!("ThreatFlow cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// From yesterday (clocks differ) for so many days.
fn lifetime<T>(days: u64) -> (T, T)
where
    T: From<std::time::SystemTime>,
{
    let now = std::time::UNIX_EPOCH + Duration::from_millis(system_ms());
    (T::from(now - Duration::from_secs(DAY_S)), T::from(now + Duration::from_secs(days * DAY_S)))
}

#[cfg(test)]
mod tests {
    use super::{hex, unhex};

    #[test]
    fn hexadecimal_reads_back_and_refuses_what_is_not() {
        assert_eq!(unhex(&hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("é0"), None);
    }
}
