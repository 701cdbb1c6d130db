//! Creating and changing users.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{find, require_another_admin, require_version};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        access,
        identity::{
            model::{NewUser, State, User},
            queries,
        },
        quotas::{self, Resource},
    },
    kernel::{Permission, Refusal, Role, UserId},
    store::Stop,
};

/// Adds an active user inside the calling command. Seats are taken in an organization's file; the system file
/// has no plan.
pub fn add_user(cx: &mut Apply<'_>, user: &NewUser) -> Result<(), Stop> {
    add(cx, user, State::Active)
}

/// Adds a user in `state`.
pub(super) fn add(cx: &mut Apply<'_>, user: &NewUser, state: State) -> Result<(), Stop> {
    if queries::name_is_taken(cx.tx, &user.email, user.id)? {
        return Err(Refusal::EmailTaken.into());
    }
    require_free_username(cx, user.username.as_deref(), user.id)?;
    queries::house(cx.tx)?.judge_email(&user.email).map_err(|why| Refusal::field("/email", why))?;

    if !cx.organization.is_system() {
        quotas::take(cx, Resource::MaxUsers, 1)?;
        if state.takes_active_seat() {
            quotas::take(cx, Resource::MaxActiveUsers, 1)?;
        }
    }
    cx.tx.prepare_cached(INSERT)?.execute(params![
        user.id.to_string(),
        user.email,
        user.username,
        user.first_name,
        user.last_name,
        user.role.name(),
        user.password_hash,
        state.name(),
        cx.at.0
    ])?;

    cx.note("user", user.id, json!({ "role": user.role, "state": state }));
    cx.note_personal(json!({ "email": user.email }));
    Ok(())
}

fn require_free_username(cx: &Apply<'_>, username: Option<&str>, id: UserId) -> Result<(), Stop> {
    match username {
        Some(name) if queries::name_is_taken(cx.tx, name, id)? => {
            Err(Refusal::field("/username", "another user of the organization has it").into())
        }
        _ => Ok(()),
    }
}

/// Whether giving a role makes somebody an administrator: what one does in passing with a session that was left open must
/// not be that.
pub(super) fn administers(role: Role) -> bool {
    matches!(role, Role::Admin | Role::PlatformAdmin)
}

/// Platform administrators live in the system file, and nobody else does.
fn require_role_of_place(cx: &Apply<'_>, role: Role) -> Result<(), Stop> {
    if (role == Role::PlatformAdmin) == cx.organization.is_system() {
        return Ok(());
    }
    Err(Refusal::field("/role", "is not a role of this organization").into())
}

/// Creates a user of the organization, active from now on.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateUser {
    /// The user.
    pub user: NewUser,
}

impl Command for CreateUser {
    const KIND: Kind = Kind::new("identity.create_user", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = UserId;

    fn steps_up(&self) -> bool {
        administers(self.user.role)
    }

    fn apply(self, cx: &mut Apply<'_>) -> Result<UserId, Stop> {
        require_role_of_place(cx, self.user.role)?;
        access::require_may_give_role(cx, self.user.role)?;
        add_user(cx, &self.user)?;
        Ok(self.user.id)
    }
}

/// What is to become of a user's fields; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// The name it also logs in with; empty takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What it likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferences: Option<Map<String, Value>>,
}

impl Changes {
    /// Writes them; answers the names of the fields that changed.
    fn write(self, cx: &mut Apply<'_>, user: &User) -> Result<Vec<&'static str>, Stop> {
        let mut changed = Vec::new();
        let mut after = user.clone();
        let mut set = |name, differs: bool| {
            if differs {
                changed.push(name);
            }
        };
        if let Some(name) = self.first_name {
            set("first_name", name != after.first_name);
            after.first_name = name;
        }
        if let Some(name) = self.last_name {
            set("last_name", name != after.last_name);
            after.last_name = name;
        }
        if let Some(name) = self.username {
            let name = Some(name).filter(|name| !name.is_empty());
            set("username", name != after.username);
            require_free_username(cx, name.as_deref(), user.id)?;
            after.username = name;
        }
        if let Some(preferences) = self.preferences {
            set("preferences", preferences != after.preferences);
            after.preferences = preferences;
        }
        let preferences = serde_json::to_string(&after.preferences)?;
        cx.tx.prepare_cached(UPDATE)?.execute(params![
            user.id.to_string(),
            after.first_name,
            after.last_name,
            after.username,
            preferences,
            cx.at.0
        ])?;
        Ok(changed)
    }
}

/// Changes a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpdateUser {
    /// Which.
    pub id: UserId,
    /// Its row's version, if the change is based on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// Its fields.
    pub changes: Changes,
    /// Its new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl Command for UpdateUser {
    const KIND: Kind = Kind::new("identity.update_user", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = i64;

    fn steps_up(&self) -> bool {
        self.role.is_some()
    }

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let before = find(cx, self.id)?;

        require_version(&before, self.if_version)?;
        access::require_may_give_role(cx, before.role)?;
        let role = self.role.unwrap_or(before.role);
        if role != before.role {
            require_role_of_place(cx, role)?;
            access::require_may_give_role(cx, role)?;
            require_another_admin(cx, &before)?;
        }

        let fields = self.changes.write(cx, &before)?;
        if role != before.role {
            cx.tx.prepare_cached(SET_ROLE)?.execute((self.id.to_string(), role.name()))?;
            cx.touch_access();
        }

        cx.note("user", self.id, json!({ "fields": fields, "role": [before.role, role] }));
        Ok(before.version + 1)
    }
}

/// A user changes what is its own to change.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpdateSelf {
    /// Its row's version, if the change is based on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// Its fields.
    pub changes: Changes,
}

impl Command for UpdateSelf {
    const KIND: Kind = Kind::new("identity.update_self", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let Some(id) = cx.actor.user() else { return Err(Refusal::NotFound.into()) };
        let before = find(cx, id)?;
        require_version(&before, self.if_version)?;

        let fields = self.changes.write(cx, &before)?;

        cx.note("user", id, json!({ "fields": fields }));
        Ok(before.version + 1)
    }
}

/// Names the users that get in when nothing else does. Every login of theirs is an alarm.
#[derive(Debug, Serialize, Deserialize)]
pub struct NameBreakGlass {
    /// All of them.
    pub users: Vec<UserId>,
}

impl Command for NameBreakGlass {
    const KIND: Kind = Kind::new("identity.name_break_glass", 1);
    const NEEDS: Permission = Permission::UserManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let highest = if cx.organization.is_system() { Role::PlatformAdmin } else { Role::Admin };
        for (place, id) in self.users.iter().enumerate() {
            let user = queries::by_id(cx.tx, *id)?;
            if user.is_none_or(|user| user.role != highest || !user.is_active()) {
                let why = "is no active administrator of this organization";
                return Err(Refusal::field(format!("/users/{place}"), why).into());
            }
        }

        cx.tx.prepare_cached(NO_BREAK_GLASS)?.execute([cx.at.0])?;
        for id in &self.users {
            cx.tx.prepare_cached(BREAK_GLASS)?.execute((id.to_string(), cx.at.0))?;
        }

        cx.note("organization", cx.organization, json!({ "break_glass": self.users }));
        Ok(())
    }
}

/// Remembers that a user has logged in. Answers the user; none when it may not (it may have been deactivated since
/// the edge looked).
pub fn stamp_login(cx: &mut Apply<'_>, user: UserId) -> Result<Option<User>, Stop> {
    let found = queries::by_id(cx.tx, user)?.filter(User::is_active);
    if found.is_some() {
        cx.tx.prepare_cached(STAMP_LOGIN)?.execute((user.to_string(), cx.at.0))?;
    }
    Ok(found)
}

const INSERT: &str = "INSERT INTO identity_users
    (id, email, username, first_name, last_name, role, password_hash, state, activated_ms, created_ms, updated_ms,
     version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9, 1)";
const UPDATE: &str =
    "UPDATE identity_users SET first_name = ?2, last_name = ?3, username = ?4, preferences = ?5,
    updated_ms = ?6, version = version + 1 WHERE id = ?1";
const SET_ROLE: &str = "UPDATE identity_users SET role = ?2 WHERE id = ?1";
const NO_BREAK_GLASS: &str =
    "UPDATE identity_users SET break_glass = 0, updated_ms = ?1, version = version + 1
    WHERE break_glass = 1";
const BREAK_GLASS: &str = "UPDATE identity_users SET break_glass = 1, updated_ms = ?2, version = version + 1
    WHERE id = ?1";
const STAMP_LOGIN: &str = "UPDATE identity_users SET last_login_ms = ?2 WHERE id = ?1";
