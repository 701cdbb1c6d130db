//! A restored cluster begins a history of its own.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::queries;
use crate::{
    cluster::{Apply, Command, Kind},
    features::membership,
    kernel::{Fault, Permission},
    store::Stop,
};

/// The first entry after a restore.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginLineage {
    /// The history from here on.
    pub lineage: Uuid,
    /// The one it was restored from.
    pub from: Uuid,
    /// The last entry of that one that it holds.
    pub index: u64,
}

impl Command for BeginLineage {
    const KIND: Kind = Kind::new("backup.begin_lineage", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let state = queries::state(cx.tx)?;

        // The nodes that were are no members of this cluster, and its authority is a new one.
        membership::begin_anew(cx)?;
        if state.is_some() {
            let index = i64::try_from(self.index).map_err(|error| Fault::new("store an index", error))?;
            let row = (self.lineage.to_string(), self.from.to_string(), index);
            cx.tx.prepare_cached(SET_LINEAGE)?.execute(row)?;
            cx.tx.prepare_cached(FORGET_PROGRESS)?.execute([])?;
        }

        let Self { lineage, from, index } = self;
        cx.note(
            "cluster",
            cx.organization,
            json!({ "restored_from": from, "index": index, "lineage": lineage }),
        );
        Ok(())
    }
}

const SET_LINEAGE: &str =
    "UPDATE backup_state SET lineage = ?1, restored_from = ?2, restored_to = ?3 WHERE one = 1";
const FORGET_PROGRESS: &str = "UPDATE backup_targets
    SET archived = 0, archived_ms = NULL, cut = 0, cut_ms = NULL, said_ms = NULL, failing = NULL";
