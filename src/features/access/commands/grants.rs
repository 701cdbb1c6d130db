//! Direct grants and denials.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Saved, escalation::Giver, next_version, require_room, require_version};
use crate::{
    cluster::{Apply, Command, Kind},
    features::access::{
        model::{Effect, GRANTS_MAX, Grant, RoleRef, Subject},
        queries,
    },
    kernel::{GrantId, Millis, Permission, Refusal},
    store::Stop,
};

/// Grants or denies, or does it anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct SaveGrant {
    /// The grant or denial.
    pub grant: Grant,
    /// Whether it is not there yet.
    pub new: bool,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for SaveGrant {
    const KIND: Kind = Kind::new("access.save_grant", 1);
    const NEEDS: Permission = Permission::GrantManage;
    const STEP_UP: bool = true;
    type Reply = Saved<GrantId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<GrantId>, Stop> {
        let (id, grant) = (self.grant.id.to_string(), self.grant);
        let before = queries::grant(cx.tx, grant.id)?;

        let room = || require_room("grants", queries::count(cx.tx, "grant")?, GRANTS_MAX);
        let stored = before.as_ref().map(|stored| stored.version);
        let version = next_version(stored, self.new, self.if_version, room)?;
        require_sound(cx, &grant)?;
        let giver = Giver::of(cx)?;
        if let Some(denial) = before.as_ref().filter(|stored| stored.value.effect == Effect::Deny) {
            giver.require_undo(denial.value.permissions.set())?;
        }
        if grant.effect == Effect::Allow {
            giver.require_grant(&grant)?;
        }

        let (subject, expires) = (grant.subject.to_string(), grant.expires.map(|at| at.0));
        let row = params![id, subject, serde_json::to_string(&grant)?, expires, cx.at.0, version];
        cx.tx.prepare_cached(UPSERT)?.execute(row)?;

        cx.touch_access();
        let before = before.map(|stored| stored.value);
        cx.note("grant", &id, json!({ "before": before, "after": grant }));
        Ok(Saved { id: grant.id, version })
    }
}

/// Refuses what refers to nothing, or has ended before it begins.
fn require_sound(cx: &Apply<'_>, grant: &Grant) -> Result<(), Stop> {
    require_subject(cx, grant.subject)?;
    require_future(cx, grant.expires)?;
    for group in grant.condition.iter().flat_map(crate::features::access::model::Condition::groups) {
        if queries::group(cx.tx, group)?.is_none() {
            return Err(Refusal::field("/condition", format!("there is no group {group}")).into());
        }
    }
    Ok(())
}

pub(super) fn require_future(cx: &Apply<'_>, expires: Option<Millis>) -> Result<(), Stop> {
    match expires {
        Some(expires) if expires <= cx.at => {
            Err(Refusal::field("/expires_at", "must be in the future").into())
        }
        _ => Ok(()),
    }
}

pub(super) fn require_subject(cx: &Apply<'_>, subject: Subject) -> Result<(), Stop> {
    let is_there = match subject {
        Subject::Everyone | Subject::Role(RoleRef::BuiltIn(_)) => true,
        Subject::User(user) => queries::user_exists(cx.tx, user)?,
        Subject::Group(group) => queries::group(cx.tx, group)?.is_some(),
        Subject::Role(RoleRef::Custom(role)) => queries::role(cx.tx, role)?.is_some(),
    };
    if is_there {
        return Ok(());
    }
    Err(Refusal::field("/subject", format!("there is no {subject}")).into())
}

/// Takes a grant or a denial back.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteGrant {
    /// Which.
    pub grant: GrantId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeleteGrant {
    const KIND: Kind = Kind::new("access.delete_grant", 1);
    const NEEDS: Permission = Permission::GrantManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let stored = queries::grant(cx.tx, self.grant)?.ok_or(Refusal::NotFound)?;

        require_version(self.if_version, stored.version)?;
        if stored.value.effect == Effect::Deny {
            Giver::of(cx)?.require_undo(stored.value.permissions.set())?;
        }

        cx.tx.prepare_cached(DELETE)?.execute([self.grant.to_string()])?;

        cx.touch_access();
        cx.note("grant", self.grant, json!({ "before": stored.value, "after": null }));
        Ok(())
    }
}

const UPSERT: &str =
    "INSERT INTO access_grants (id, subject, body, expires_ms, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
    ON CONFLICT (id) DO UPDATE SET subject = ?2, body = ?3, expires_ms = ?4, updated_ms = ?5, version = ?6";
const DELETE: &str = "DELETE FROM access_grants WHERE id = ?1";
