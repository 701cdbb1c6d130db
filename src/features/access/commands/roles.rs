//! Custom roles, and who has them.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Saved, escalation::Giver, next_version, require_room, require_version};
use crate::{
    cluster::{Apply, Command, Kind},
    features::access::{
        model::{CustomRole, Holding, ROLES_MAX, RoleRef, Subject},
        queries,
    },
    kernel::{Permission, Refusal, RoleId},
    store::Stop,
};

/// Defines a custom role, or defines it anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct SaveRole {
    /// The role.
    pub role: CustomRole,
    /// Whether it is not there yet.
    pub new: bool,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for SaveRole {
    const KIND: Kind = Kind::new("access.save_role", 1);
    const NEEDS: Permission = Permission::RoleManage;
    const STEP_UP: bool = true;
    type Reply = Saved<RoleId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<RoleId>, Stop> {
        let id = self.role.id.to_string();
        let before = queries::role(cx.tx, self.role.id)?;

        let room = || require_room("roles", queries::count(cx.tx, "role")?, ROLES_MAX);
        let stored = before.as_ref().map(|stored| stored.version);
        let version = next_version(stored, self.new, self.if_version, room)?;
        if queries::is_name_taken(cx.tx, "role", &self.role.name, &id)? {
            return Err(Refusal::NameTaken.into());
        }
        require_inheritance(cx, &self.role)?;
        let giver = Giver::of(cx)?;
        giver.require_rules(&self.role, None)?;
        for inherited in &self.role.inherits {
            giver.require_role(cx, *inherited, None)?;
        }

        let body = serde_json::to_string(&self.role)?;
        cx.tx.prepare_cached(UPSERT)?.execute(params![id, self.role.name, body, cx.at.0, version])?;

        cx.touch_access();
        let before = before.map(|stored| stored.value);
        cx.note("role", &id, json!({ "before": before, "after": self.role }));
        Ok(Saved { id: self.role.id, version })
    }
}

/// Refuses roles that are not there, and circles.
fn require_inheritance(cx: &Apply<'_>, role: &CustomRole) -> Result<(), Stop> {
    for inherited in &role.inherits {
        let RoleRef::Custom(id) = *inherited else { continue };
        if queries::role(cx.tx, id)?.is_none() && id != role.id {
            return Err(Refusal::field("/inherits", format!("there is no role {id}")).into());
        }
        let mut reached = BTreeMap::new();
        queries::reach(cx.tx, &mut reached, *inherited, None)?;
        if id == role.id || reached.contains_key(&RoleRef::Custom(role.id)) {
            return Err(Refusal::field("/inherits", format!("{id} inherits this role: a circle")).into());
        }
    }
    Ok(())
}

/// Deletes a custom role that nothing refers to.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteRole {
    /// The role.
    pub role: RoleId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeleteRole {
    const KIND: Kind = Kind::new("access.delete_role", 1);
    const NEEDS: Permission = Permission::RoleManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let id = self.role.to_string();
        let stored = queries::role(cx.tx, self.role)?.ok_or(Refusal::NotFound)?;

        require_version(self.if_version, stored.version)?;
        super::groups::require_unmentioned(cx, &id)?;

        cx.tx.prepare_cached(DELETE)?.execute([&id])?;

        cx.touch_access();
        cx.note("role", &id, json!({ "before": stored.value, "after": null }));
        Ok(())
    }
}

/// Gives a custom role to a user or a group; again, with another end.
#[derive(Debug, Serialize, Deserialize)]
pub struct GiveRole {
    /// Which, to whom, and until when.
    #[serde(flatten)]
    pub holding: Holding,
}

impl Command for GiveRole {
    const KIND: Kind = Kind::new("access.give_role", 1);
    const NEEDS: Permission = Permission::RoleManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let Holding { role, subject, expires } = self.holding;
        queries::role(cx.tx, role)?.ok_or(Refusal::NotFound)?;
        let before = queries::holding(cx.tx, role, subject)?;

        require_holder(cx, subject)?;
        super::grants::require_future(cx, expires)?;
        Giver::of(cx)?.require_role(cx, RoleRef::Custom(role), expires)?;

        let row = params![subject.to_string(), role.to_string(), expires.map(|at| at.0), cx.at.0];
        cx.tx.prepare_cached(GIVE)?.execute(row)?;

        let after = Holding { role, subject, expires };
        cx.touch_access();
        cx.note("role", role, json!({ "holder": { "before": before, "after": after } }));
        Ok(())
    }
}

fn require_holder(cx: &Apply<'_>, subject: Subject) -> Result<(), Stop> {
    if matches!(subject, Subject::Everyone | Subject::Role(_)) {
        return Err(Refusal::field("/subject", "must be user:<id> or group:<id>").into());
    }
    super::grants::require_subject(cx, subject)
}

/// Takes a custom role from a user or a group.
#[derive(Debug, Serialize, Deserialize)]
pub struct TakeRole {
    /// The role.
    pub role: RoleId,
    /// Who has it.
    pub subject: Subject,
}

impl Command for TakeRole {
    const KIND: Kind = Kind::new("access.take_role", 1);
    const NEEDS: Permission = Permission::RoleManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let before = queries::holding(cx.tx, self.role, self.subject)?.ok_or(Refusal::NotFound)?;

        // Who loses a role loses what is denied to it, too.
        let giver = Giver::of(cx)?;
        for grant in queries::grants_of(cx.tx, Subject::Role(RoleRef::Custom(self.role)))? {
            if grant.effect == crate::features::access::model::Effect::Deny {
                giver.require_undo(grant.permissions.set())?;
            }
        }

        cx.tx.prepare_cached(TAKE)?.execute((self.subject.to_string(), self.role.to_string()))?;

        cx.touch_access();
        cx.note("role", self.role, json!({ "holder": { "before": before, "after": null } }));
        Ok(())
    }
}

const UPSERT: &str = "INSERT INTO access_roles (id, name, body, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, ?4, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET name = ?2, body = ?3, updated_ms = ?4, version = ?5";
const DELETE: &str = "DELETE FROM access_roles WHERE id = ?1";
const GIVE: &str =
    "INSERT INTO access_holdings (subject, role, expires_ms, created_ms) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (subject, role) DO UPDATE SET expires_ms = ?3";
const TAKE: &str = "DELETE FROM access_holdings WHERE subject = ?1 AND role = ?2";
