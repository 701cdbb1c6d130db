//! What the edge remembers of who may do what, for as long as nothing about it changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    model::{Compiled, Standing},
    queries::compiled,
};
use crate::{
    cluster::{Cluster, Unanswered, View},
    kernel::{Actor, OrgId, Role, SessionId, UserId},
    store::Epoch,
};

/// Rights remembered at a time.
const KNOWN_MAX: usize = 20_000;

type Known = BTreeMap<Key, (Epoch, Arc<Compiled>)>;
/// Whose rights, where. A role at home counts elsewhere, and a session only at home.
type Key = (OrgId, UserId, Option<OrgId>, Option<Role>, Option<SessionId>);

/// Rights by actor and organization. Cheap to clone.
#[derive(Clone)]
pub struct Recall {
    cluster: Cluster,
    known: Arc<Mutex<Known>>,
}

impl Recall {
    /// Nothing yet.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, known: Arc::default() }
    }

    /// What is remembered of an actor's rights, if nothing about access has changed in the organization's file since.
    pub fn remembered(&self, organization: OrgId, actor: &Actor) -> Option<Arc<Compiled>> {
        let key = key_of(organization, actor)?;
        let epoch = self.cluster.store().epoch(organization);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).filter(|(then, _)| *then == epoch).map(|(_, rights)| Arc::clone(rights))
    }

    /// Looks an actor's rights up, and remembers them.
    pub async fn look_up(
        &self,
        view: &View,
        organization: OrgId,
        actor: &Actor,
    ) -> Result<Arc<Compiled>, Unanswered> {
        // Taken before the rows are read: what changes meanwhile is looked up again.
        let epoch = self.cluster.store().epoch(organization);
        let reader = actor.clone();
        let found =
            self.cluster.read(view, organization, move |tx| compiled(tx, organization, &reader)).await?;
        let rights = Arc::new(found.unwrap_or_else(|| Compiled::fixed(Standing::Stranger)));
        if let Some(key) = key_of(organization, actor).filter(|_| rights.standing().sees()) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key, (epoch, Arc::clone(&rights)));
        }
        Ok(rights)
    }
}

fn key_of(organization: OrgId, actor: &Actor) -> Option<Key> {
    match actor {
        Actor::System | Actor::Anonymous => None,
        Actor::Platform { user, session } => Some((organization, *user, None, None, *session)),
        Actor::User { organization: home, user, role, session } => {
            Some((organization, *user, Some(*home), Some(*role), *session))
        }
    }
}
