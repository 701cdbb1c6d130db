//! Recognising callers: a token is verified once, then remembered until it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    model::User,
    queries,
    tokens::{Claims, Tokens},
};
use crate::{
    cluster::{Cluster, View},
    kernel::{Actor, Millis},
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
    checked: Millis,
}

/// How long a caller's role and session are believed at the edge. Commands decide from the row itself.
const BELIEVED_MS: i64 = 1_000;
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
    pub async fn recognise(&self, token: &str) -> Result<Caller, Problem> {
        let now = now();
        if let Some(caller) = self.recall(token, now) {
            return Ok(caller);
        }
        let claims = self.tokens.verify(token).ok_or_else(Problem::unauthenticated)?;
        let caller = self.look_up(&claims, now).await?.ok_or_else(Problem::unauthenticated)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, entry| entry.checked.plus(BELIEVED_MS) > now);
        }
        if known.len() < KNOWN_MAX {
            known.insert(token.to_owned(), Known { caller: caller.clone(), checked: now });
        }
        Ok(caller)
    }

    fn recall(&self, token: &str, now: Millis) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(token)?;
        let believed = entry.checked.plus(BELIEVED_MS) > now;
        let lasts = entry.caller.expires_ms.is_some_and(|expires| expires > now.0);
        (believed && lasts).then(|| entry.caller.clone())
    }

    /// The user's row decides whether it may come in, and as what. The session may have been opened on
    /// another node a moment ago: what is not here yet is waited for once.
    async fn look_up(&self, claims: &Claims, now: Millis) -> Result<Option<Caller>, Problem> {
        if let Some(caller) = self.read(claims, View::Local, now).await? {
            return Ok(Some(caller));
        }
        self.read(claims, View::Strong, now).await
    }

    async fn read(&self, claims: &Claims, view: View, now: Millis) -> Result<Option<Caller>, Problem> {
        let (user, session) = (claims.sub, claims.sid.to_string());
        let found = self
            .cluster
            .read(&view, claims.org, move |tx| {
                let open = queries::session_is_open(tx, &session, now)?;
                Ok(if open { queries::by_id(tx, user)? } else { None })
            })
            .await?;
        Ok(found.flatten().filter(|user| user.is_active).map(|user| caller(claims, &user)))
    }
}

fn caller(claims: &Claims, user: &User) -> Caller {
    let actor = if claims.org.is_system() {
        Actor::Platform { user: user.id }
    } else {
        Actor::User { organization: claims.org, user: user.id, role: user.role }
    };
    let expires_ms = Some(claims.exp.saturating_mul(1000));
    Caller { actor, home: Some(claims.org), session: Some(claims.sid), expires_ms }
}
