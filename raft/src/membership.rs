//! Bootstrap, join, leave: who is in the group.
//!
//! A joiner holds a [`Token`]: addresses of members, the SHA-256 of the cluster's authority, and a secret
//! good for one node. It reaches any member over TLS, refuses it unless its certificate chains to exactly
//! that authority, and sends the secret. The application spends the secret ([`Application`]); the leader adds
//! the node as a learner; the joiner gets the authority itself, so that it can issue its own certificate
//! and admit others later. The leader promotes learners that have caught up ([`voters`]).
//!
//! What always holds: a node id that votes is never given to a joiner again, since a voter that comes back
//! with an empty log could undo what it had acknowledged. Such a node is removed first.

use std::{fmt, io, path::Path, str::FromStr, sync::Arc, time::Duration};

use openraft::errors::{ChangeMembershipError, ClientWriteError};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    contract::{Config, Fault, Grant, GroupId, JoinRequest, NodeId, Safe, Unavailable},
    pki::{ALPN_JOIN, any_member, hex, provider, random_hex, root_store, sha256, unhex},
    replica::Core,
    trust::Trust,
    types::Node,
    voters,
    wire::{
        Change, Changed, JoinAnswer, JoinAsk, decode, encode,
        frame::{Frame, Pipe},
        kind,
    },
};

const JOIN_ATTEMPT: Duration = Duration::from_secs(30);
/// Time for the leader to add a learner: a few elections long.
const ADD_LEARNER: Duration = Duration::from_secs(10);

/// Admits one node to the cluster. As text: `tfj1.` and hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    addresses: Vec<String>,
    fingerprint: [u8; 32],
    secret: String,
}

impl Token {
    pub(crate) fn new(addresses: Vec<String>, fingerprint: [u8; 32]) -> Result<Self, Fault> {
        Ok(Self { addresses, fingerprint, secret: random_hex::<16>()? })
    }

    /// What the application stores: hexadecimal SHA-256 of the secret.
    pub fn secret_digest(&self) -> String {
        Self::digest_of(&self.secret)
    }

    /// The digest of the secret in a [`JoinRequest`].
    pub fn digest_of(secret: &str) -> String {
        hex(&sha256(secret.as_bytes()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        write!(out, "tfj1.{}", hex(&bytes))
    }
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Token for {:?}", self.addresses)
    }
}

impl FromStr for Token {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bytes = text.trim().strip_prefix("tfj1.").and_then(unhex);
        let bytes = bytes.ok_or_else(|| Fault::found("this is not a join token"))?;
        postcard::from_bytes(&bytes).map_err(|e| Fault::new("read a join token", e))
    }
}

/// Why a node did not join.
#[derive(Debug)]
pub enum JoinError {
    /// The cluster said no; the text is its reason.
    Refused(String),
    /// No member in the token could be reached, or proved to be of that cluster.
    Unreachable(String),
    /// This node failed.
    Broken(Fault),
}

impl fmt::Display for JoinError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(out, "the cluster refused: {why}"),
            Self::Unreachable(why) => write!(out, "no member was reached: {why}"),
            Self::Broken(fault) => fault.fmt(out),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<Fault> for JoinError {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

/// Why a change of the group was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// The leader said no; the text is its reason.
    Refused(String),
    /// Nobody could make it.
    Unavailable(Unavailable),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => out.write_str(why),
            Self::Unavailable(why) => write!(out, "{why:?}"),
        }
    }
}

impl std::error::Error for ChangeError {}

/// A node that has been let in, and is no member on disk yet.
pub struct Admitted {
    /// What the application of the member gave it.
    pub grant: Grant,
    trust: Trust,
}

impl Admitted {
    /// Makes it a member: saves the authority into the folder, sealed. The grant is what `safe` is made from, so it is
    /// kept first.
    pub fn enter(self, folder: &Path, safe: &dyn Safe) -> Result<(), Fault> {
        self.trust.save(folder, safe).map(drop)
    }
}

/// The joiner's side.
pub(crate) async fn join(config: &Config, token: &Token, about: Vec<u8>) -> Result<Admitted, JoinError> {
    if Trust::exists(&config.folder) {
        return Err(JoinError::Refused("this node belongs to a cluster already".into()));
    }
    let request = JoinRequest {
        secret: token.secret.clone(),
        node: config.node,
        peer_address: config.peer_advertise.clone(),
        api_url: config.api_url.clone(),
        zone: config.zone.clone(),
        about,
    };
    let mut why = "the token names no member".to_owned();
    for address in &token.addresses {
        match timeout(JOIN_ATTEMPT, ask(address, token, &request)).await {
            Ok(Ok(JoinAnswer::Welcome { authority, grant })) => {
                return admitted(token, Trust::of(authority), grant);
            }
            Ok(Ok(JoinAnswer::WelcomeBetween { trust, grant })) => {
                return admitted(token, trust, grant);
            }
            Ok(Ok(JoinAnswer::Refused(reason))) => return Err(JoinError::Refused(reason)),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer within {JOIN_ATTEMPT:?}"),
        }
    }
    Err(JoinError::Unreachable(why))
}

fn admitted(token: &Token, trust: Trust, grant: Grant) -> Result<Admitted, JoinError> {
    if trust.issuer().fingerprint() != token.fingerprint {
        return Err(JoinError::Refused("the member sent another cluster's authority".into()));
    }
    Ok(Admitted { grant, trust })
}

async fn ask(address: &str, token: &Token, request: &JoinRequest) -> io::Result<JoinAnswer> {
    let verifier = Arc::new(Pinned { fingerprint: token.fingerprint });
    let mut tls = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_JOIN.to_vec()];
    let tcp = TcpStream::connect(address).await?;
    let name = any_member().map_err(io::Error::other)?;
    let mut pipe = Pipe::new(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?);
    let payload = encode(&JoinAsk { request: request.clone() }).map_err(io::Error::other)?;
    pipe.push(&Frame { kind: kind::JOIN, group: GroupId::MAIN, request: 1, payload })?;
    let answer = pipe.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    decode(&answer.payload).map_err(io::Error::other)
}

/// The member's side of one join.
pub(crate) async fn welcome<S>(core: &Core, mut pipe: Pipe<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = pipe.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if frame.kind != kind::JOIN {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a joiner may only join"));
    }
    let JoinAsk { request } = decode(&frame.payload).map_err(io::Error::other)?;
    let node = request.node;
    let answer = admit(core, request).await.unwrap_or_else(|reason| {
        tracing::warn!(node, reason, "refused a node");
        JoinAnswer::Refused(reason)
    });
    let payload = encode(&answer).map_err(io::Error::other)?;
    pipe.push(&Frame { kind: kind::ANSWER, group: frame.group, request: frame.request, payload })?;
    pipe.flush().await
}

async fn admit(core: &Core, request: JoinRequest) -> Result<JoinAnswer, String> {
    vacant(core, request.node, &request.peer_address)?; // before the token is spent
    let about = Node {
        peer_address: request.peer_address.clone(),
        api_url: request.api_url.clone(),
        zone: request.zone.clone(),
        standby: false,
    };
    let learner = Change::AddLearner { node: request.node, about };
    let grant = core.application.admit(request).await?;
    core.change(learner, ADD_LEARNER).await.map_err(|e| e.to_string())?;
    // Read after the node is a member: whoever waits for every member to trust an authority waits for this one.
    let trust = core.peers.identity().trust.clone();
    Ok(if trust.is_between() {
        JoinAnswer::WelcomeBetween { trust, grant }
    } else {
        JoinAnswer::Welcome { authority: trust.issuer().clone(), grant }
    })
}

/// Whether a joiner may have this id.
fn vacant(core: &Core, node: NodeId, address: &str) -> Result<(), String> {
    let metrics = core.metrics();
    let membership = metrics.membership_config.membership();
    if membership.voter_ids().any(|voter| voter == node) {
        return Err(format!("node {node} votes already: remove it before it joins anew"));
    }
    match membership.get_node(&node) {
        Some(known) if known.peer_address != address => {
            Err(format!("node {node} is known with another address"))
        }
        _ => Ok(()),
    }
}

/// Performs a change if this node leads.
pub(crate) async fn perform(core: &Core, change: Change) -> Changed {
    if !core.leads() {
        return Changed::NotNow;
    }
    // One at a time: each looks at the membership first, and what it saw must hold until it is done. A demotion
    // would bring back a node that was removed meanwhile.
    let changes = !matches!(change, Change::MayRemove { .. } | Change::TransferTo { .. });
    let _alone = if changes { Some(core.changes.lock().await) } else { None };
    match change {
        Change::AddLearner { node, about } => {
            if let Err(reason) = vacant(core, node, &about.peer_address) {
                return Changed::Refused(reason);
            }
            // A learner that joined before and lost its disk starts over; it never voted.
            let _ = core.raft.trigger().allow_next_revert(&node, true).await;
            told(core.raft.add_learner(node, about, false).await)
        }
        Change::Remove { node, force } => voters::remove(core, node, force).await,
        Change::MayRemove { node, force } => voters::may_remove(core, node, force).await,
        Change::Promote { node } => voters::promote(core, node).await,
        Change::Demote { node, force } => voters::demote(core, node, force).await,
        Change::TransferTo { node } => transfer(core, node).await,
    }
}

async fn transfer(core: &Core, node: NodeId) -> Changed {
    if node == core.config.node {
        return Changed::Done;
    }
    if !core.metrics().membership_config.voter_ids().any(|voter| voter == node) {
        return Changed::Refused(format!("node {node} does not vote"));
    }
    match core.raft.trigger().transfer_leader(node).await {
        Ok(()) => Changed::Done,
        Err(error) => Changed::Refused(error.to_string()),
    }
}

pub(crate) fn told<T>(
    result: Result<T, openraft::errors::RaftError<crate::types::TypeConfig, WriteError>>,
) -> Changed {
    let Err(error) = result else { return Changed::Done };
    match error.api_error() {
        // Another leader, or a change that is not committed yet: both pass.
        Some(
            ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            ),
        ) => Changed::NotNow,
        _ => Changed::Refused(error.to_string()),
    }
}

type WriteError = ClientWriteError<crate::types::TypeConfig>;

/// Removes what a failed bootstrap left, so that it can be tried again.
pub(crate) fn forget(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder.join("pki"));
}

/// Trusts exactly the authority with this fingerprint, which the member shows in its chain.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|shown| sha256(shown) == self.fingerprint);
        let authority = authority.ok_or_else(|| {
            rustls::Error::General(
                "the member is not of the cluster that the token names, or the cluster's authority was rotated \
                 since the token was made: make a new one with `threatflow cluster token`"
                    .into(),
            )
        })?;
        let roots = Arc::new(root_store(authority.clone().into_owned())?);
        WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Token;

    #[test]
    fn a_token_reads_back_from_its_text_and_hides_its_secret() {
        let token = Token::new(vec!["10.0.0.1:7000".into()], [7; 32]).unwrap();
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        assert!("tfj1.zz".parse::<Token>().is_err());
        assert!("hello".parse::<Token>().is_err());
    }
}
