//! Where backups go, and how they are made.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{model::Policy, queries};
use crate::{
    cluster::{Apply, Command, Kind},
    kernel::{Fault, Permission, Refusal, from_hex},
    store::Stop,
};

/// Targets of one cluster.
const TARGETS_MAX: usize = 4;

/// A target is made or changed. The first one begins the history that is backed up.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetTarget {
    /// Its name.
    pub name: String,
    /// Where it is, without secrets.
    pub settings: Value,
    /// What opens it, sealed for life (hexadecimal). None keeps what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// The lineage to begin, if none is there.
    pub lineage: Uuid,
    /// The recovery key of that lineage, sealed for life (hexadecimal).
    pub recovery: String,
}

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSet {
    /// It was not there before.
    pub created: bool,
    /// The recovery key that came with it is the cluster's.
    pub recovery_taken: bool,
}

impl Command for SetTarget {
    const KIND: Kind = Kind::new("backup.set_target", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// Everything leaves through a target.
    const STEP_UP: bool = true;
    type Reply = TargetSet;

    fn apply(self, cx: &mut Apply<'_>) -> Result<TargetSet, Stop> {
        let targets = queries::targets(cx.tx)?;
        let begun = queries::state(cx.tx)?.is_some();
        let before = targets.iter().find(|target| target.name == self.name);
        let created = before.is_none();

        if created && targets.len() >= TARGETS_MAX {
            return Err(Refusal::WrongState { state: "too_many_targets".to_owned() }.into());
        }

        if !begun {
            let policy = json(&Policy::default())?;
            let recovery = bytes(&self.recovery)?;
            cx.tx.prepare_cached(INSERT_STATE)?.execute((self.lineage.to_string(), recovery, policy))?;
        }
        let credentials = self.credentials.as_deref().map(bytes).transpose()?;
        let settings = json(&self.settings)?;
        cx.tx.prepare_cached(UPSERT)?.execute((&self.name, settings, credentials, cx.at.0))?;
        // What is in another place is not known. In the same one it goes on where it was: the log is held for it.
        if before.is_some_and(|before| place(&before.settings) != place(&self.settings)) {
            cx.tx.prepare_cached(BEGIN_ANEW)?.execute([&self.name])?;
        }

        cx.note("backup_target", &self.name, json!({ "settings": self.settings, "created": created }));
        Ok(TargetSet { created, recovery_taken: !begun })
    }
}

/// Nothing is put into a target any more; what is in it stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoveTarget {
    /// Its name.
    pub name: String,
}

impl Command for RemoveTarget {
    const KIND: Kind = Kind::new("backup.remove_target", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if cx.tx.prepare_cached(DELETE)?.execute([&self.name])? == 0 {
            return Err(Refusal::NotFound.into());
        }

        cx.note("backup_target", &self.name, json!({ "removed": true }));
        Ok(())
    }
}

/// How backups are made from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetBackupPolicy {
    /// All of it.
    pub policy: Policy,
}

impl Command for SetBackupPolicy {
    const KIND: Kind = Kind::new("backup.set_policy", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    /// It decides what is removed.
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let before = queries::state(cx.tx)?.ok_or(Refusal::WrongState { state: "no_backup".to_owned() })?;

        cx.tx.prepare_cached(SET_POLICY)?.execute([json(&self.policy)?])?;

        cx.note("backup_policy", "cluster", json!({ "before": before.policy, "after": self.policy }));
        Ok(())
    }
}

/// A drill is wanted now.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestDrill {}

impl Command for RequestDrill {
    const KIND: Kind = Kind::new("backup.request_drill", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if queries::target_names(cx.tx)?.is_empty() {
            return Err(Refusal::WrongState { state: "no_target".to_owned() }.into());
        }

        cx.tx.prepare_cached(WANT_DRILL)?.execute([cx.at.0])?;

        cx.note("backup_drill", "cluster", json!({ "requested": true }));
        Ok(())
    }
}

/// Where a target is, whatever else is set.
fn place(settings: &Value) -> [Option<&Value>; 5] {
    ["kind", "endpoint", "bucket", "prefix", "path"].map(|name| settings.get(name))
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::new("write settings of a backup", error))
}

pub(super) fn bytes(hex: &str) -> Result<Vec<u8>, Fault> {
    from_hex(hex).ok_or_else(|| Fault::found("a sealed value is not hexadecimal"))
}

const INSERT_STATE: &str = "INSERT INTO backup_state (one, lineage, recovery, policy) VALUES (1, ?1, ?2, ?3)";
const UPSERT: &str = "INSERT INTO backup_targets (name, settings, credentials, created_ms) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE
    SET settings = excluded.settings, credentials = coalesce(excluded.credentials, credentials), failing = NULL";
const BEGIN_ANEW: &str =
    "UPDATE backup_targets SET archived = 0, archived_ms = NULL, cut = 0, cut_ms = NULL WHERE name = ?1";
const WANT_DRILL: &str = "UPDATE backup_state SET drill_wanted_ms = ?1 WHERE one = 1";
const DELETE: &str = "DELETE FROM backup_targets WHERE name = ?1";
const SET_POLICY: &str = "UPDATE backup_state SET policy = ?1 WHERE one = 1";
