//! Policies in Cedar.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Saved,
    escalation::{Given, Giver},
    next_version, require_room, require_version,
};
use crate::{
    cluster::{Apply, Command, Kind},
    features::access::{
        model::{FLAWED, POLICIES_MAX, Policies, Policy, SLICE_MAX, scope},
        queries,
    },
    kernel::{Permission, PolicyId, Refusal},
    store::Stop,
};

/// Writes a policy, or writes it anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavePolicy {
    /// The policy.
    pub policy: Policy,
    /// Whether it is not there yet.
    pub new: bool,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for SavePolicy {
    const KIND: Kind = Kind::new("access.save_policy", 1);
    const NEEDS: Permission = Permission::PolicyManage;
    const STEP_UP: bool = true;
    type Reply = Saved<PolicyId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<PolicyId>, Stop> {
        let (id, policy) = (self.policy.id.to_string(), self.policy);
        let before = queries::policy(cx.tx, policy.id)?;

        let room = || require_room("policies", queries::count(cx.tx, "policy")?, POLICIES_MAX);
        let stored = before.as_ref().map(|stored| stored.version);
        let version = next_version(stored, self.new, self.if_version, room)?;
        if queries::is_name_taken(cx.tx, "policy", &policy.name, &id)? {
            return Err(Refusal::NameTaken.into());
        }
        let giver = Giver::of(cx)?;
        require_sound(&giver, &policy)?;
        if let Some(stored) = &before {
            require_undo(&giver, &stored.value)?;
        }
        require_few(cx, &policy)?;

        let body = serde_json::to_string(&policy)?;
        cx.tx.prepare_cached(UPSERT)?.execute(params![id, policy.name, body, cx.at.0, version])?;

        cx.touch_access();
        let before = before.map(|stored| stored.value);
        cx.note("policy", &id, json!({ "before": before, "after": policy }));
        Ok(Saved { id: policy.id, version })
    }
}

/// Refuses what is no policy, and a permit of what its author does not hold. What stands in its conditions is not weighed: the
/// author must hold it without any.
fn require_sound(giver: &Giver, policy: &Policy) -> Result<(), Refusal> {
    let (permissions, permits) = scope(policy).map_err(|_| Refusal::field("/text", FLAWED))?;
    if !permits {
        return Ok(());
    }
    giver.require(&Given { permissions, condition: None, resource: None, until: None })
}

/// A policy that forbids is a denial: who is bound by it does not lift it.
fn require_undo(giver: &Giver, policy: &Policy) -> Result<(), Refusal> {
    match scope(policy) {
        Ok((permissions, false)) => giver.require_undo(permissions),
        _ => Ok(()),
    }
}

/// Refuses more policies about one permission than a question may ask.
fn require_few(cx: &Apply<'_>, policy: &Policy) -> Result<(), Stop> {
    let stored = queries::all_policies(cx.tx)?.into_iter().map(|stored| stored.value);
    let mut all: Vec<Policy> = stored.filter(|other: &Policy| other.id != policy.id).collect();
    all.push(policy.clone());
    let read = Policies::read(&all).map_err(|_| Refusal::field("/text", FLAWED))?;
    match read.overfull() {
        None => Ok(()),
        Some(permission) => {
            let (what, max) = (format!("policies about {permission}"), SLICE_MAX);
            Err(Refusal::LimitReached { what, max: i64::try_from(max).unwrap_or(i64::MAX) }.into())
        }
    }
}

/// Takes a policy back.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeletePolicy {
    /// Which.
    pub policy: PolicyId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeletePolicy {
    const KIND: Kind = Kind::new("access.delete_policy", 1);
    const NEEDS: Permission = Permission::PolicyManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let stored = queries::policy(cx.tx, self.policy)?.ok_or(Refusal::NotFound)?;

        require_version(self.if_version, stored.version)?;
        require_undo(&Giver::of(cx)?, &stored.value)?;

        cx.tx.prepare_cached(DELETE)?.execute([self.policy.to_string()])?;

        cx.touch_access();
        cx.note("policy", self.policy, json!({ "before": stored.value, "after": null }));
        Ok(())
    }
}

const UPSERT: &str = "INSERT INTO access_policies (id, name, body, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, ?4, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET name = ?2, body = ?3, updated_ms = ?4, version = ?5";
const DELETE: &str = "DELETE FROM access_policies WHERE id = ?1";
