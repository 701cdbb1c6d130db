//! Changing what is asked of members.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::factors::{model::Policy, queries},
    kernel::{Permission, Refusal},
    store::Stop,
};

/// Sets the policy.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetMfaPolicy {
    /// The row's version that the caller has seen; absent: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// The policy.
    pub policy: Policy,
}

impl Command for SetMfaPolicy {
    const KIND: Kind = Kind::new("factors.set_policy", 1);
    const NEEDS: Permission = Permission::SecurityManage;
    const STEP_UP: bool = true;
    /// The row's version.
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let (before, current) = queries::policy(cx.tx)?;
        if self.if_version.is_some_and(|seen| seen != current) {
            return Err(Refusal::VersionMismatch { current }.into());
        }

        let version = current.saturating_add(1);
        let policy = serde_json::to_string(&self.policy)?;
        cx.tx.prepare_cached(UPSERT)?.execute((policy, cx.at.0, version))?;

        cx.note("mfa_policy", cx.organization, json!({ "policy": [before, self.policy] }));
        Ok(version)
    }
}

const UPSERT: &str = "INSERT INTO factors_policy (one, policy, updated_ms, version) VALUES (1, ?1, ?2, ?3)
    ON CONFLICT (one) DO UPDATE SET policy = excluded.policy, updated_ms = excluded.updated_ms,
    version = excluded.version";
