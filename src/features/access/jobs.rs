//! The leader removes what has expired.

use super::{ForgetExpired, queries::any_expired};
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View},
    kernel::{OrgId, RequestId},
    web::now,
};

/// Rows of each kind removed in one entry.
const LIMIT: u32 = 500;

/// Removes what has expired in one organization's file. Nothing hangs on when it does: decisions ignore it from its moment on.
pub async fn forget_expired(cluster: &Cluster, organization: OrgId) -> Result<(), Unanswered> {
    let at = now();
    if cluster.read(&View::Local, organization, move |tx| any_expired(tx, at)).await? == Some(true) {
        let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
        cluster.propose(&ticket, organization, &ForgetExpired { limit: LIMIT }).await?;
    }
    Ok(())
}
