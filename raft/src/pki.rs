//! The cluster's certificate authority, and the certificate each node makes for itself from it.
//!
//! Every member holds the authority's key, because every member may admit the next one. So a node never
//! stores its own certificate: it issues a fresh one whenever it starts and again every month, and the
//! private key lives in memory only. What is on disk, and what is trusted, is `trust.rs`.
//!
//! What a certificate proves: it chains to this cluster's authority (made at bootstrap, unique), and its
//! name `node-<id>.<cluster>.threatflow.internal` says which node holds it.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
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

/// A certificate of this node.
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Vec<u8>,
    pub(crate) expires_ms: u64,
}

impl Authority {
    /// Makes the authority of a new cluster.
    pub(crate) fn create() -> Result<Self, Fault> {
        let cluster = random_hex::<8>()?;
        Self::named(cluster)
    }

    /// Makes the next authority of the same cluster.
    pub(crate) fn successor(&self) -> Result<Self, Fault> {
        Self::named(self.cluster.clone())
    }

    fn named(cluster: String) -> Result<Self, Fault> {
        let key = KeyPair::generate().map_err(|e| Fault::new("make the authority's key", e))?;
        let mut params = authority_params(&cluster)?;
        (params.not_before, params.not_after, _) = lifetime(CA_DAYS);
        let certificate = params.self_signed(&key).map_err(|e| Fault::new("sign the authority", e))?;
        Ok(Self { cluster, certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// Reads what [`Authority::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        postcard::from_bytes(bytes).map_err(|e| Fault::new("decode the cluster's authority", e))
    }

    /// With its key: to be sealed, or written where only this node reads.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        postcard::to_stdvec(self).map_err(|e| Fault::new("encode the authority", e))
    }

    /// Its certificate (DER).
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// When its certificate ends.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        not_after_ms(&self.certificate)
    }

    /// SHA-256 of the authority's certificate: what a token pins.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// The cluster's name, random, made at bootstrap.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Issues a certificate to this node: its chain, its key, and when it ends.
    pub(crate) fn issue(&self, node: NodeId) -> Result<Issued, Fault> {
        let key = KeyPair::generate().map_err(|e| Fault::new("make a node key", e))?;
        let (certificate, expires_ms) = self.sign(node, &key)?;
        let chain = vec![certificate, CertificateDer::from(self.certificate.clone())];
        Ok(Issued { chain, key: key.serialize_der(), expires_ms })
    }

    /// The name the certificate of `node` proves.
    pub(crate) fn name_of(&self, node: NodeId) -> Result<ServerName<'static>, Fault> {
        ServerName::try_from(self.host_of(node)).map_err(|e| Fault::new("name a node", e))
    }

    fn host_of(&self, node: NodeId) -> String {
        format!("node-{node}.{}.threatflow.internal", self.cluster)
    }

    fn sign(&self, node: NodeId, key: &KeyPair) -> Result<(CertificateDer<'static>, u64), Fault> {
        let broken = |e: rcgen::Error| Fault::new("issue a node certificate", e);
        let mut params =
            CertificateParams::new(vec![self.host_of(node), ANY_MEMBER.to_owned()]).map_err(broken)?;
        params.distinguished_name.push(DnType::CommonName, format!("node {node}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let expires_ms;
        (params.not_before, params.not_after, expires_ms) = lifetime(NODE_DAYS);
        let signer = KeyPair::try_from(self.key.as_slice()).map_err(broken)?;
        let issuer = Issuer::new(authority_params(&self.cluster)?, signer);
        let certificate = params.signed_by(key, &issuer).map_err(broken)?;
        Ok((certificate.der().clone(), expires_ms))
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

pub(crate) fn private_der(key: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
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

/// From yesterday (clocks differ) for so many days; and the end in milliseconds since the epoch.
fn lifetime<T>(days: u64) -> (T, T, u64)
where
    T: From<std::time::SystemTime>,
{
    let now = std::time::UNIX_EPOCH + Duration::from_millis(system_ms());
    let lasts = Duration::from_secs(days * DAY_S);
    let end_ms = system_ms().saturating_add(days * DAY_S * 1_000);
    (T::from(now - Duration::from_secs(DAY_S)), T::from(now + lasts), end_ms)
}

/// The end of a certificate's validity: its two times stand side by side, UTCTime or GeneralizedTime
/// (RFC 5280, 4.1.2.5). Only for certificates of our own making.
fn not_after_ms(certificate: &[u8]) -> Option<u64> {
    (0..certificate.len()).find_map(|at| {
        let (_, rest) = time_at(certificate.get(at..)?)?;
        time_at(rest).map(|(end_ms, _)| end_ms)
    })
}

/// Reads an ASN.1 time: milliseconds since the epoch, and what stands behind it.
fn time_at(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = match bytes.get(..2)? {
        [0x17, 13] => 13,
        [0x18, 15] => 15,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes.get(2..2 + digits)?).ok()?.strip_suffix('Z')?;
    let (year, rest) = text.split_at_checked(digits - 11)?;
    let mut parts = [0_u64; 5];
    for (at, part) in parts.iter_mut().enumerate() {
        *part = rest.get(at * 2..at * 2 + 2)?.parse().ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let year: u64 = year.parse().ok()?;
    let year = if digits == 15 { year } else { year + if year < 50 { 2_000 } else { 1_900 } };
    let days = days_to(year, month, day)?;
    Some((((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000, bytes.get(2 + digits..)?))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let leap_day = month > 2 && leaps(year) > leaps(year.checked_sub(1)?);
    let before = BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let years = year.checked_sub(1970)? * 365 + leaps(year - 1).checked_sub(leaps(1969))?;
    Some(years + before + u64::from(leap_day) + day.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Authority, CA_DAYS, DAY_S, days_to, hex, not_after_ms, unhex};
    use crate::clock::system_ms;

    #[test]
    fn an_authority_knows_its_own_end() {
        let ends_ms = Authority::create().unwrap().expires_ms().unwrap();
        let due_ms = system_ms() + CA_DAYS * DAY_S * 1_000;
        assert!(due_ms.abs_diff(ends_ms) < 60_000, "{due_ms} {ends_ms}");
        assert_eq!(not_after_ms(b"no certificate"), None);
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(days_to(1970, 1, 1), Some(0));
        assert_eq!(days_to(2000, 3, 1), Some(11_017));
        assert_eq!(days_to(2024, 2, 29), Some(19_782));
        assert_eq!(days_to(2100, 3, 1), Some(47_541));
    }

    #[test]
    fn hexadecimal_reads_back_and_refuses_what_is_not() {
        assert_eq!(unhex(&hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("é0"), None);
    }
}
