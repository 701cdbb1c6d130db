//! Recognising callers: a token is verified once, then remembered until it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    queries,
    tokens::{Claims, Tokens},
};
use crate::{
    cluster::{Cluster, View},
    features::access,
    kernel::{Actor, Millis, Origin, Role},
    store::Epoch,
    web::{Caller, Problem, now},
};

/// Turns tokens into callers.
#[derive(Clone)]
pub struct Recogniser {
    cluster: Cluster,
    tokens: Arc<Tokens>,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
}

#[derive(Clone)]
struct Known {
    caller: Caller,
    /// What it says holds as long as its file has this epoch.
    epoch: Epoch,
}

/// Tokens remembered at a time.
const KNOWN_MAX: usize = 10_000;

impl Recogniser {
    /// A recogniser over the cluster's tokens.
    pub fn new(cluster: Cluster, tokens: Arc<Tokens>) -> Self {
        Self { cluster, tokens, known: Arc::default() }
    }

    /// The cluster's tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The caller behind a token.
    pub async fn recognise(&self, token: &str, _origin: &Origin) -> Result<Caller, Problem> {
        let now = now();
        if let Some(caller) = self.recall(token, now) {
            return Ok(caller);
        }
        let claims = self.tokens.verify(token).ok_or_else(Problem::unauthenticated)?;
        let epoch = self.cluster.store().epoch(claims.org);
        let caller = self.look_up(&claims, epoch, now).await?.ok_or_else(Problem::unauthenticated)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, entry| self.holds(entry, now));
        }
        if known.len() < KNOWN_MAX {
            known.insert(token.to_owned(), Known { caller: caller.clone(), epoch });
        }
        Ok(caller)
    }

    fn recall(&self, token: &str, now: Millis) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).filter(|entry| self.holds(entry, now)).map(|entry| entry.caller.clone())
    }

    fn holds(&self, entry: &Known, now: Millis) -> bool {
        let same = entry.caller.home.is_some_and(|home| self.cluster.store().epoch(home) == entry.epoch);
        same && entry.caller.expires_ms.is_some_and(|expires| expires > now.0)
    }

    /// The user's row decides whether it may come in, and as what. The session may have been opened on
    /// another node a moment ago: what is not here yet is waited for once.
    async fn look_up(&self, claims: &Claims, epoch: Epoch, now: Millis) -> Result<Option<Caller>, Problem> {
        let here = epoch.entry().map_or(View::Local, |entry| View::Session(Some(entry)));
        if let Some(caller) = self.read(claims, here, now).await? {
            return Ok(Some(caller));
        }
        self.read(claims, View::Strong, now).await
    }

    async fn read(&self, claims: &Claims, view: View, now: Millis) -> Result<Option<Caller>, Problem> {
        let (user, session) = (claims.sub, claims.sid.to_string());
        let found = self
            .cluster
            .read(&view, claims.org, move |tx| {
                let open = queries::is_open(tx, &session, now)?;
                if open { access::role_of(tx, user) } else { Ok(None) }
            })
            .await?;
        Ok(found.flatten().map(|role| caller(claims, role)))
    }
}

fn caller(claims: &Claims, role: Role) -> Caller {
    let (user, session) = (claims.sub, Some(claims.sid));
    let actor = if claims.org.is_system() {
        Actor::Platform { user, session }
    } else {
        Actor::User { organization: claims.org, user, role, session }
    };
    let expires_ms = Some(claims.exp.saturating_mul(1000));
    Caller { actor, home: Some(claims.org), session, expires_ms }
}
