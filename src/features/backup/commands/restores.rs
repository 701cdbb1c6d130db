//! One organization brought back while the cluster serves: asked for in the system file, done in the organization's.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::{model::Until, queries};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{audit, keys},
    kernel::{Actor, Fault, Millis, OrgId, OutboxId, Permission, Refusal},
    store::{Replacement, Stop},
};

/// Restores that are remembered.
const RESTORES_MAX: u32 = 1_000;

/// An organization is to be brought back. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestRestore {
    /// Names the restore.
    pub id: Uuid,
    /// Whose content.
    pub organization: OrgId,
    /// Into whose place: its own, or that of another that is as it was made.
    pub into: OrgId,
    /// From which target.
    pub target: String,
    /// To which moment.
    pub until: Until,
}

impl Command for RequestRestore {
    const KIND: Kind = Kind::new("backup.request_restore", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// What was written since is taken back.
    const STEP_UP: bool = true;
    type Reply = Uuid;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Uuid, Stop> {
        let running = queries::wanted_restores(cx.tx)?;

        if !queries::target_names(cx.tx)?.contains(&self.target) {
            return Err(Refusal::NotFound.into());
        }
        if running.iter().any(|restore| restore.into == self.into) {
            return Err(Refusal::WrongState { state: "restoring".to_owned() }.into());
        }

        let until =
            serde_json::to_string(&self.until).map_err(|error| Fault::new("write a moment", error))?;
        let places = (self.organization.to_string(), self.into.to_string());
        let row = (self.id.to_string(), places.0, places.1, &self.target, until, cx.at.0);
        cx.tx.prepare_cached(INSERT)?.execute(row)?;
        cx.tx.prepare_cached(FORGET)?.execute([RESTORES_MAX])?;

        let Self { id, organization, into, target, until } = self;
        let asked = json!({ "organization": organization, "into": into, "target": target, "until": until });
        cx.note("backup_restore", id, asked);
        Ok(id)
    }
}

/// What every member holds takes the place of an organization's file; what does not go back stays. In that file.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReplaceContent {
    /// The restore that was asked for.
    pub restore: Uuid,
    /// What takes its place.
    pub replacement: Replacement,
    /// Whose content that is.
    pub organization: OrgId,
    /// The history it is from, and the last entry of that one which it holds.
    pub lineage: Uuid,
    /// That entry.
    pub index: u64,
    /// Its stamp.
    pub moment: Millis,
}

impl Command for ReplaceContent {
    const KIND: Kind = Kind::new("backup.replace_content", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = OutboxId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<OutboxId, Stop> {
        let key = keys::data_key(cx.tx)?;
        let untouched = audit::is_untouched(cx.tx)?;

        if key != self.replacement.key {
            return Err(Refusal::KeyChanged.into());
        }
        if self.organization != cx.organization && !untouched {
            return Err(Refusal::WrongState { state: "in_use".to_owned() }.into());
        }

        let Self { restore: id, replacement, organization, lineage, index, moment } = self;
        let restored = json!({ "restored": { "from": organization, "history": lineage, "index": index, "moment": moment.to_string() } });
        cx.note("organization", cx.organization, restored);
        cx.replace(replacement);
        cx.touch_access();
        cx.send(
            OrgId::SYSTEM,
            None,
            Actor::System,
            &EndRestore { id, outcome: Ended::Done { lineage, index, moment } },
        )
    }
}

/// What became of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Ended {
    /// It is in its place.
    Done {
        /// The history it came from.
        lineage: Uuid,
        /// The last entry of that one which it holds.
        index: u64,
        /// Its stamp.
        moment: Millis,
    },
    /// Nothing was changed.
    Failed {
        /// Why.
        why: String,
    },
}

/// A restore is over. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndRestore {
    /// Which.
    pub id: Uuid,
    /// What became of it.
    pub outcome: Ended,
}

impl Command for EndRestore {
    const KIND: Kind = Kind::new("backup.end_restore", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let state = if matches!(self.outcome, Ended::Done { .. }) { "done" } else { "failed" };
        let result = serde_json::to_string(&self.outcome)
            .map_err(|error| Fault::new("write what became of a restore", error))?;

        let row = (self.id.to_string(), state, cx.at.0, result);
        if cx.tx.prepare_cached(END)?.execute(row)? == 0 {
            // It was done, whoever gives it up afterwards.
            return Err(Refusal::NotFound.into());
        }

        cx.note("backup_restore", self.id, json!({ "ended": self.outcome }));
        Ok(())
    }
}

const INSERT: &str = "INSERT INTO backup_restores (id, organization, into_id, target, upto, at_ms, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'wanted')";
const FORGET: &str = "DELETE FROM backup_restores WHERE state <> 'wanted' AND id IN
    (SELECT id FROM backup_restores ORDER BY at_ms DESC, id DESC LIMIT -1 OFFSET ?1)";
const END: &str = "UPDATE backup_restores SET state = ?2, ended_ms = ?3, result = ?4
    WHERE id = ?1 AND (state = 'wanted' OR state = 'failed' AND ?2 = 'done')";
