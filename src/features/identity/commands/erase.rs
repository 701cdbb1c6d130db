//! Deleting a person: the row at once, what the trail says about the person in steps.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{find, require_another_admin, require_version};
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::{
        access, audit,
        identity::{model::State, queries},
        quotas::{self, Resource},
        sessions,
    },
    kernel::{Fault, Permission, UserId},
    store::Stop,
};

/// Events looked at in one entry.
const EVENTS_MAX: i64 = 10_000;

/// Deletes a user. What it did stays in the trail under its id alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteUser {
    /// Who.
    pub id: UserId,
    /// Its row's version, if the wish is based on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
}

impl Command for DeleteUser {
    const KIND: Kind = Kind::new("identity.delete_user", 1);
    const NEEDS: Permission = Permission::UserManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = find(cx, self.id)?;
        require_version(&user, self.if_version)?;
        access::require_may_give_role(cx, user.role)?;
        require_another_admin(cx, &user)?;

        cx.note("user", self.id, json!({ "deleted": true, "state": user.state }));
        sessions::end_all(cx, self.id, None, "deleted")?;
        let id = self.id.to_string();
        cx.tx.prepare_cached(DELETE)?.execute([&id])?;
        cx.tx.prepare_cached(INSERT_ERASURE)?.execute((&id, &user.email))?;
        if !cx.organization.is_system() {
            access::forget_user(cx, self.id)?;
            quotas::give_back(cx, Resource::MaxUsers, 1)?;
            if user.state.takes_active_seat() {
                quotas::give_back(cx, Resource::MaxActiveUsers, 1)?;
            }
        }
        cx.touch_access();
        Ok(())
    }
}

/// Erases what the next events say about a deleted person beside their leaves. Answers whether there is more.
#[derive(Debug, Serialize, Deserialize)]
pub struct EraseTraces {}

impl Command for EraseTraces {
    const KIND: Kind = Kind::new("identity.erase_traces", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = bool;

    fn apply(self, cx: &mut Apply<'_>) -> Result<bool, Stop> {
        let Some((user, email, from)) = queries::erasure(cx.tx)? else { return Ok(false) };

        let last = audit::last_seq(cx.tx)?;
        let to = last.min(from + EVENTS_MAX);
        audit::erase_personal(cx, user, &email, (from, to))?;
        if to < last {
            cx.tx.prepare_cached(ADVANCE)?.execute((user.to_string(), to))?;
            return Ok(true);
        }
        cx.tx.prepare_cached(FORGET_ERASURE)?.execute([user.to_string()])?;
        cx.note_also(ERASED, "user", &user.to_string(), json!({ "personal_data": "erased" }));
        Ok(queries::erasure(cx.tx)?.is_some())
    }
}

/// Deletes, in a file that was made from a backup, whom the trail of the present one says to be deleted since. Deleted
/// people do not come back.
pub fn forget_deleted(restored: &Connection, trail: &Connection, since: i64) -> Result<(), Fault> {
    let mut any = false;
    for id in audit::done_to(trail, DeleteUser::KIND.name, since)? {
        let user = id.parse().map_err(|error| Fault::new("read whom an event is about", error))?;
        any |= restored.prepare_cached(DELETE)?.execute([&id])? > 0;
        access::forget_subject(restored, user)?;
    }
    if any {
        let (all, active) =
            restored.query_row(COUNT_SEATS, [State::Active.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        quotas::recount(restored, Resource::MaxUsers, all)?;
        quotas::recount(restored, Resource::MaxActiveUsers, active)?;
    }
    Ok(())
}

/// Whether traces of deleted people go from a file, or went since an event of its trail.
pub fn erases(tx: &Connection, since: i64) -> Result<bool, Fault> {
    Ok(queries::erasure(tx)?.is_some()
        || deletes(tx, since)?
        || !audit::done_to(tx, ERASED, since)?.is_empty())
}

/// Whether somebody was deleted since an event of a file's trail.
pub fn deletes(tx: &Connection, since: i64) -> Result<bool, Fault> {
    Ok(!audit::done_to(tx, DeleteUser::KIND.name, since)?.is_empty())
}

/// All traces of somebody are gone.
const ERASED: &str = "identity.erased";
const COUNT_SEATS: &str = "SELECT count(*), count(CASE WHEN state = ?1 THEN 1 END) FROM identity_users";
const DELETE: &str = "DELETE FROM identity_users WHERE id = ?1";
const INSERT_ERASURE: &str = "INSERT INTO identity_erasures (user_id, email, erased_to) VALUES (?1, ?2, 0)";
const ADVANCE: &str = "UPDATE identity_erasures SET erased_to = ?2 WHERE user_id = ?1";
const FORGET_ERASURE: &str = "DELETE FROM identity_erasures WHERE user_id = ?1";
