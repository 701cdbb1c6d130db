//! Brings files that nobody writes to up to the level in force, a few at a time.

use uuid::Uuid;

use crate::{
    cluster::{Cluster, RaiseFile, Ticket, Unanswered, View},
    kernel::RequestId,
    store::level_of,
};

/// Files looked at in one go: ten thousand cold ones take minutes, and nobody waits for them.
const FILES_MAX: usize = 50;

/// Looks into some of the files not known to be at the level in force; has those raised that are not, on the leader.
/// Every node looks: what it says about its files is its own.
pub async fn raise_files(cluster: &Cluster, leads: bool) -> Result<(), Unanswered> {
    let store = cluster.store();
    let in_force = store.level();
    for file in store.below().into_iter().take(FILES_MAX) {
        let Some(level) = cluster.read(&View::Local, file, level_of).await? else { continue };
        store.saw_level(file, level);
        if level < in_force && leads {
            let ticket = Ticket::system(RequestId(Uuid::now_v7()));
            cluster.propose(&ticket, file, &RaiseFile {}).await?;
        }
    }
    Ok(())
}
