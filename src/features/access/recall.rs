//! What the edge remembers of who may do what, for as long as nothing about it changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    model::{Compiled, Standing},
    queries::{compiled, compiled_for},
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

/// Whose rights are read.
enum Whose {
    Actor(Actor),
    User(UserId),
}

/// Rights by actor and organization. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recall {
    known: Arc<Mutex<Known>>,
}

impl Recall {
    /// What is remembered of an actor's rights, if nothing about access has changed in the organization's file since.
    pub fn remembered(&self, cluster: &Cluster, organization: OrgId, actor: &Actor) -> Option<Arc<Compiled>> {
        self.get(cluster, key_of(organization, actor)?)
    }

    /// Looks an actor's rights up, and remembers them.
    pub async fn look_up(
        &self,
        cluster: &Cluster,
        view: &View,
        organization: OrgId,
        actor: &Actor,
    ) -> Result<Arc<Compiled>, Unanswered> {
        let key = key_of(organization, actor);
        self.learn(cluster, view, organization, key, Whose::Actor(actor.clone())).await
    }

    /// An actor's rights, as fresh as `view` asks: from memory, or else looked up.
    pub async fn rights(
        &self,
        cluster: &Cluster,
        view: &View,
        organization: OrgId,
        actor: &Actor,
    ) -> Result<Arc<Compiled>, Unanswered> {
        cluster.await_view(view).await?;
        match self.remembered(cluster, organization, actor) {
            Some(rights) => Ok(rights),
            None => self.look_up(cluster, &View::Local, organization, actor).await,
        }
    }

    /// The rights of a user of the organization, in no session; a stranger's, when there is none of that id.
    pub async fn rights_of(
        &self,
        cluster: &Cluster,
        view: &View,
        organization: OrgId,
        user: UserId,
    ) -> Result<Arc<Compiled>, Unanswered> {
        cluster.await_view(view).await?;
        // No actor has a home and no role.
        let key = (organization, user, Some(organization), None, None);
        if let Some(rights) = self.get(cluster, key) {
            return Ok(rights);
        }
        self.learn(cluster, &View::Local, organization, Some(key), Whose::User(user)).await
    }

    fn get(&self, cluster: &Cluster, key: Key) -> Option<Arc<Compiled>> {
        let epoch = cluster.store().epoch(key.0);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).filter(|(then, _)| *then == epoch).map(|(_, rights)| Arc::clone(rights))
    }

    async fn learn(
        &self,
        cluster: &Cluster,
        view: &View,
        organization: OrgId,
        key: Option<Key>,
        whose: Whose,
    ) -> Result<Arc<Compiled>, Unanswered> {
        // Taken before the rows are read, and its entry waited for: what changes meanwhile is looked up again, and what is
        // remembered under an epoch was read from rows that have it.
        let epoch = cluster.store().epoch(organization);
        if let Some(entry) = epoch.entry() {
            cluster.await_view(&View::Session(Some(entry))).await?;
        }
        let read = cluster.read(view, organization, move |tx| match &whose {
            Whose::Actor(actor) => compiled(tx, organization, actor),
            Whose::User(user) => compiled_for(tx, organization, *user),
        });
        let found = read.await?;
        let rights = Arc::new(found.unwrap_or_else(|| Compiled::fixed(Standing::Stranger)));
        if let Some(key) = key.filter(|_| rights.standing().sees()) {
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
