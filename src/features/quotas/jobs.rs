//! The leader measures how large organizations' files are.

use rusqlite::Connection;

use super::MeasureStorage;
use crate::{
    cluster::{Cluster, Ticket, Unanswered, View},
    kernel::{Fault, OrgId, RequestId},
};

/// Measures one organization's file and has the figure stored.
pub async fn measure(cluster: &Cluster, organization: OrgId) -> Result<(), Unanswered> {
    let Some(bytes) = cluster.read(&View::Local, organization, file_bytes).await? else { return Ok(()) };
    let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
    cluster.propose(&ticket, organization, &MeasureStorage { bytes }).await?;
    Ok(())
}

fn file_bytes(tx: &Connection) -> Result<i64, Fault> {
    let pages: i64 = tx.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page_bytes: i64 = tx.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(pages.saturating_mul(page_bytes))
}
