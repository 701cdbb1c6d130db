//! What the replica asks of the application: lets a node in that shows a good token, and hands it the cluster key;
//! answers the questions of other members.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use raft::{Grant, JoinRequest, Later, NodeId, Token};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, Joiner, Ticket, Unanswered, View},
    features::{
        keys,
        membership::{SpendToken, knows_token},
    },
    kernel::{OrgId, Refusal, RequestId, from_hex},
    store::{Arrived, Keyring, VERSION, since},
};

/// The gate that joining nodes come to.
pub(super) struct Gatekeeper {
    keyring: Arc<Keyring>,
    /// Set once the node has started; the replica needs the gatekeeper before there is a cluster.
    cluster: OnceLock<Cluster>,
}

impl Gatekeeper {
    /// A gatekeeper that turns everybody away until [`Gatekeeper::open`].
    pub(super) fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, cluster: OnceLock::new() }
    }

    /// Begins to admit.
    pub(super) fn open(&self, cluster: Cluster) {
        let _ = self.cluster.set(cluster);
    }

    async fn judge(&self, request: JoinRequest) -> Result<Grant, String> {
        let cluster = self.cluster.get().ok_or("this member is starting; try again in a moment")?;
        able(cluster.store().level(), &request.about)?;
        if let Some(Arrived { here, of, .. }) = cluster.store().arrived() {
            let told = format!("the restore is not complete: {here} of {of} organizations are here");
            return Err(format!("{told}; try again with the same token"));
        }
        let digest = Token::digest_of(&request.secret);
        let ticket = self.ticket(&digest, &request);
        if !known(cluster, &digest).await? {
            return Err(turned_away());
        }
        let rotating = cluster.read(&View::Strong, OrgId::SYSTEM, keys::rotating).await;
        if rotating.map_err(|reason| unavailable(&reason))?.unwrap_or_default() {
            return Err(
                "the cluster key is being rotated; try again in a minute with the same token".to_owned()
            );
        }
        match cluster.propose(&ticket, OrgId::SYSTEM, &SpendToken { digest, node: request.node }).await {
            Ok(_) => {
                let bundle = self.keyring.bundle().map_err(|fault| fault.to_string())?;
                Ok(Grant { secrets: bundle.to_vec() })
            }
            Err(Unanswered::Refused { refusal: Refusal::WrongState { .. }, .. }) => Err(format!(
                "node {} was removed, and its number is never given again; choose another --node-id",
                request.node
            )),
            Err(Unanswered::Refused { .. }) => Err(turned_away()),
            Err(reason) => Err(unavailable(&reason)),
        }
    }
}

impl Gatekeeper {
    /// One request id for each token and node: a node whose join was cut short repeats it and gets the
    /// remembered answer; any other finds the token spent.
    fn ticket(&self, digest: &str, request: &JoinRequest) -> Ticket {
        let node = request.node.to_be_bytes();
        let id = self.keyring.fingerprint(&[b"spend-token", digest.as_bytes(), &node]);
        let request = self.keyring.fingerprint(&[node.as_slice(), request.peer_address.as_bytes()]);
        let ticket = Ticket::system(RequestId(Uuid::try_parse(&id).unwrap_or_default()));
        Ticket { fingerprint: request, ..ticket }
    }
}

impl raft::Application for Gatekeeper {
    fn admit(&self, request: JoinRequest) -> Later<'_, Result<Grant, String>> {
        Box::pin(self.judge(request))
    }

    fn answer(&self, from: NodeId, question: Bytes) -> Later<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let cluster = self.cluster.get().ok_or("this member is starting; try again in a moment")?;
            cluster.answer(from, &question).await
        })
    }

    fn safe(&self) -> &dyn raft::Safe {
        &*self.keyring
    }
}

/// A node that could not read what the cluster writes is told so before its token is spent.
fn able(in_force: u32, about: &[u8]) -> Result<(), String> {
    let joiner: Joiner = serde_json::from_slice(about)
        .map_err(|error| format!("this member does not understand what the node says of itself: {error}"))?;
    if joiner.level_max >= in_force {
        return Ok(());
    }
    let needs = since(in_force).unwrap_or(VERSION);
    let Joiner { version, level_max } = joiner;
    Err(format!(
        "level {in_force} is in force, and the node's binary (version {version}) knows up to level {level_max}: it \
         needs version {needs} or newer"
    ))
}

/// Whether a token has this digest. Guesses are turned away here: each would be an entry in the log.
async fn known(cluster: &Cluster, digest: &str) -> Result<bool, String> {
    let digest = from_hex(digest).unwrap_or_default();
    let found = cluster.read(&View::Strong, OrgId::SYSTEM, move |tx| knows_token(tx, &digest)).await;
    found.map(Option::unwrap_or_default).map_err(|reason| unavailable(&reason))
}

/// The same for unknown, spent and expired.
fn turned_away() -> String {
    "the token is unknown, spent or expired; make a new one with `threatflow cluster token`".to_owned()
}

fn unavailable(reason: &Unanswered) -> String {
    match reason {
        Unanswered::NoQuorum | Unanswered::OutcomeUnknown => {
            "the cluster has no quorum now; try again".to_owned()
        }
        _ => "this member is stopping; try again with another".to_owned(),
    }
}
