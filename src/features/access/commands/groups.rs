//! Groups, and who is in them.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Saved, escalation::Giver, next_version, require_room, require_version};
use crate::{
    cluster::{Apply, Command, Kind},
    features::access::{
        model::{GROUPS_MAX, Group},
        queries,
    },
    kernel::{GroupId, Permission, Refusal, UserId},
    store::Stop,
};

/// Defines a group, or defines it anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct SaveGroup {
    /// The group.
    pub group: Group,
    /// Whether it is not there yet.
    pub new: bool,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for SaveGroup {
    const KIND: Kind = Kind::new("access.save_group", 1);
    const NEEDS: Permission = Permission::GroupManage;
    type Reply = Saved<GroupId>;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Saved<GroupId>, Stop> {
        let id = self.group.id.to_string();
        let before = queries::group(cx.tx, self.group.id)?;

        let room = || require_room("groups", queries::count(cx.tx, "group")?, GROUPS_MAX);
        let stored = before.as_ref().map(|stored| stored.version);
        let version = next_version(stored, self.new, self.if_version, room)?;
        if queries::is_name_taken(cx.tx, "group", &self.group.name, &id)? {
            return Err(Refusal::NameTaken.into());
        }

        let body = serde_json::to_string(&self.group)?;
        cx.tx.prepare_cached(UPSERT)?.execute(params![id, self.group.name, body, cx.at.0, version])?;

        cx.touch_access();
        let before = before.map(|stored| stored.value);
        cx.note("group", &id, json!({ "before": before, "after": self.group }));
        Ok(Saved { id: self.group.id, version })
    }
}

/// Refuses to delete what rules refer to: what they say would change behind their author's back.
pub(super) fn require_unmentioned(cx: &Apply<'_>, id: &str) -> Result<(), Stop> {
    match queries::mentions(cx.tx, id)? {
        0 => Ok(()),
        count => Err(Refusal::WrongState { state: format!("in use by {count} rules") }.into()),
    }
}

/// Deletes a group that no rule refers to, with its memberships.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteGroup {
    /// The group.
    pub group: GroupId,
    /// The version that the caller read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeleteGroup {
    const KIND: Kind = Kind::new("access.delete_group", 1);
    const NEEDS: Permission = Permission::GroupManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let id = self.group.to_string();
        let stored = queries::group(cx.tx, self.group)?.ok_or(Refusal::NotFound)?;

        require_version(self.if_version, stored.version)?;
        require_unmentioned(cx, &id)?;

        let members = cx.tx.prepare_cached(EMPTY)?.execute([&id])?;
        cx.tx.prepare_cached(DELETE)?.execute([&id])?;

        cx.touch_access();
        cx.note("group", &id, json!({ "before": stored.value, "after": null, "members": members }));
        Ok(())
    }
}

/// Puts a user into a group, or takes it out.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetMember {
    /// The group.
    pub group: GroupId,
    /// The user.
    pub user: UserId,
    /// Whether it is to be in the group.
    pub present: bool,
}

impl Command for SetMember {
    const KIND: Kind = Kind::new("access.set_member", 1);
    const NEEDS: Permission = Permission::GroupManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        queries::group(cx.tx, self.group)?.ok_or(Refusal::NotFound)?;
        let was = queries::groups_of(cx.tx, self.user)?.contains(&self.group);

        if self.present && !queries::user_exists(cx.tx, self.user)? {
            return Err(Refusal::field("/user", "there is no such user").into());
        }
        if !self.present && !was {
            return Err(Refusal::NotFound.into());
        }
        Giver::of(cx)?.require_group(cx, self.group)?;

        let (group, user) = (self.group.to_string(), self.user.to_string());
        if self.present {
            cx.tx.prepare_cached(PUT)?.execute((&user, &group, cx.at.0))?;
        } else {
            cx.tx.prepare_cached(TAKE)?.execute((&user, &group))?;
        }

        cx.touch_access();
        cx.note("group", &group, json!({ "user": user, "member": { "before": was, "after": self.present } }));
        Ok(())
    }
}

const UPSERT: &str = "INSERT INTO access_groups (id, name, body, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, ?4, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET name = ?2, body = ?3, updated_ms = ?4, version = ?5";
const EMPTY: &str = "DELETE FROM access_members WHERE group_id = ?1";
const DELETE: &str = "DELETE FROM access_groups WHERE id = ?1";
const PUT: &str = "INSERT INTO access_members (user_id, group_id, created_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (user_id, group_id) DO NOTHING";
const TAKE: &str = "DELETE FROM access_members WHERE user_id = ?1 AND group_id = ?2";
