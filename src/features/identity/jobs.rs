//! What the leader does for people: traces of the deleted, and those who stayed away too long.

use super::{DeactivateInactive, EraseTraces, queries};
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View},
    kernel::{OrgId, RequestId},
};

/// Entries in a row for one file before others have their turn.
const STEPS_MAX: u32 = 1_000;

/// Erases what is left of deleted people in one organization's trail.
pub async fn erase(cluster: &Cluster, file: OrgId) -> Result<(), Unanswered> {
    let waits = |cluster: &Cluster| {
        let cluster = cluster.clone();
        async move { cluster.read(&View::Local, file, |tx| Ok(queries::erasure(tx)?.is_some())).await }
    };
    if waits(cluster).await? != Some(true) {
        return Ok(());
    }
    for _ in 0..STEPS_MAX {
        let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
        if !cluster.propose(&ticket, file, &EraseTraces {}).await?.reply {
            break;
        }
    }
    Ok(())
}

/// Deactivates who stayed away too long, in one organization that wants that.
pub async fn deactivate_inactive(cluster: &Cluster, file: OrgId) -> Result<(), Unanswered> {
    let wants = cluster.read(&View::Local, file, |tx| Ok(queries::house(tx)?.auto_deactivate_inactive_users));
    if wants.await? != Some(true) {
        return Ok(());
    }
    for _ in 0..STEPS_MAX {
        let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
        if cluster.propose(&ticket, file, &DeactivateInactive {}).await?.reply == 0 {
            break;
        }
    }
    Ok(())
}
