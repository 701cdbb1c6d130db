//! The keys that sign tokens, as this node follows them.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, Ordering},
};

use super::{
    model::KeyState,
    queries,
    tokens::{Claims, KeySet, kid, seal_context},
};
use crate::{
    cluster::{Cluster, Unanswered, View},
    kernel::{Fault, Millis, OrgId},
    store::{Epoch, Keyring},
};

/// Issues and verifies the cluster's access tokens. Its keys stand in the system file and are read again whenever that
/// file's epoch has changed.
pub struct Tokens {
    issuer: String,
    public_url: Option<String>,
    held: RwLock<Held>,
    /// When a key that is not known here was last asked for.
    asked: AtomicI64,
}

#[derive(Clone)]
struct Held {
    epoch: Option<Epoch>,
    set: Arc<KeySet>,
    /// Rises with each change of the set.
    revision: u64,
}

/// Who issues tokens where no URL is configured.
const ISSUER: &str = "threatflow";
/// Between two looks for a key that is not known here: anybody can make a token that names one.
const ASK_AGAIN_MS: i64 = 1_000;

impl Tokens {
    /// Tokens that say they were issued by `public_url`, or by `threatflow`.
    pub fn new(public_url: Option<&str>) -> Self {
        let issuer = public_url.unwrap_or(ISSUER).to_owned();
        let held = Held { epoch: None, set: Arc::new(KeySet::new(&issuer)), revision: 0 };
        Self {
            issuer,
            public_url: public_url.map(str::to_owned),
            held: RwLock::new(held),
            asked: AtomicI64::new(0),
        }
    }

    /// Who the tokens say issued them.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The URL under which clients reach the API, if it is configured.
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// The keys and the number of their changes, if they are known to be the present ones.
    pub(super) fn present(&self, cluster: &Cluster) -> Option<(Arc<KeySet>, u64)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let epoch = cluster.store().epoch(OrgId::SYSTEM);
        (held.epoch == Some(epoch)).then(|| (Arc::clone(&held.set), held.revision))
    }

    /// The present keys.
    pub async fn keys(&self, cluster: &Cluster) -> Result<Arc<KeySet>, Unanswered> {
        Ok(self.keys_and_revision(cluster, View::Local).await?.0)
    }

    pub(super) async fn keys_and_revision(
        &self,
        cluster: &Cluster,
        view: View,
    ) -> Result<(Arc<KeySet>, u64), Unanswered> {
        if let Some(present) = self.present(cluster).filter(|_| view == View::Local) {
            return Ok(present);
        }
        cluster.await_view(&view).await?;
        // Before the read, which waits for its entry: what changes during it is read again.
        let epoch = cluster.store().epoch(OrgId::SYSTEM);
        let view = epoch.entry().map_or(View::Local, |entry| View::Session(Some(entry)));
        let rows = cluster.read(&view, OrgId::SYSTEM, queries::keys).await?.unwrap_or_default();
        let read = key_set(&self.issuer, cluster.store().keyring(), &rows);
        let set = read.map_err(|fault| cluster.halt(fault))?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if set.states() != held.set.states() {
            held.revision += 1;
            held.set = Arc::new(set);
        }
        held.epoch = Some(epoch);
        Ok((Arc::clone(&held.set), held.revision))
    }

    /// What a token says, if it is one of ours and has not ended. A key that is not known here may have been made on
    /// another node a moment ago: it is waited for, now and then.
    pub async fn verify(
        &self,
        cluster: &Cluster,
        token: &str,
        now: Millis,
    ) -> Result<Option<(Claims, u64)>, Unanswered> {
        let Some(kid) = kid(token) else { return Ok(None) };
        let (mut set, mut revision) = self.keys_and_revision(cluster, View::Local).await?;
        if !set.knows(&kid) && self.may_ask(now) {
            (set, revision) = self.keys_and_revision(cluster, View::Strong).await?;
        }
        Ok(set.verify(token, now).map(|claims| (claims, revision)))
    }

    fn may_ask(&self, now: Millis) -> bool {
        let last = self.asked.load(Ordering::Relaxed);
        let due = now.0 >= last.saturating_add(ASK_AGAIN_MS);
        due && self.asked.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn key_set(issuer: &str, keyring: &Keyring, rows: &[queries::KeyRow]) -> Result<KeySet, Fault> {
    let mut set = KeySet::new(issuer);
    for row in rows {
        let signs = row.state == KeyState::Active;
        let pkcs8 = signs.then(|| keyring.unseal(&seal_context(&row.kid), &row.sealed)).transpose()?;
        set = set.with(&row.kid, &row.public, row.state, pkcs8.as_ref().map(|pkcs8| pkcs8.as_slice()));
    }
    Ok(set)
}
