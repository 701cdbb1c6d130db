//! How long sessions of an organization last.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::sessions::{model::Policy, queries},
    kernel::{Permission, Refusal},
    store::Stop,
};

/// Sets the limits of an organization's sessions. Answers the row's version.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetPolicy {
    /// The version that the caller has seen; absent: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// The limits.
    pub policy: Policy,
}

impl Command for SetPolicy {
    const KIND: Kind = Kind::new("sessions.set_policy", 1);
    const NEEDS: Permission = Permission::SecurityManage;
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let (before, current) = queries::policy(cx.tx)?;

        if self.if_version.is_some_and(|seen| seen != current) {
            return Err(Refusal::VersionMismatch { current }.into());
        }
        let errors = self.policy.judge();
        if !errors.is_empty() {
            return Err(Refusal::Invalid { errors }.into());
        }

        let (after, version) = (self.policy, current.saturating_add(1));
        let row = (after.idle_minutes, after.absolute_hours, after.concurrent_max, version);
        cx.tx.prepare_cached(UPSERT)?.execute(row)?;

        // Open sessions have the new limits at once.
        cx.touch_access();
        cx.note("session_policy", cx.organization, json!({ "before": before, "after": after }));
        Ok(version)
    }
}

const UPSERT: &str = "INSERT INTO sessions_policy (one, idle_minutes, absolute_hours, concurrent_max, version)
    VALUES (1, ?1, ?2, ?3, ?4) ON CONFLICT (one) DO UPDATE SET idle_minutes = excluded.idle_minutes,
    absolute_hours = excluded.absolute_hours, concurrent_max = excluded.concurrent_max, version = excluded.version";
