//! Creating users and opening sessions.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{model::NewUser, queries};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        access,
        quotas::{self, Resource},
    },
    kernel::{Fault, Permission, Refusal, Role, UserId},
    store::Stop,
};

/// Adds a user inside the calling command. Seats are taken in an organization's file; the system file
/// has no plan.
pub fn add_user(cx: &mut Apply<'_>, user: &NewUser) -> Result<(), Stop> {
    if queries::by_email(cx.tx, &user.email)?.is_some() {
        return Err(Refusal::EmailTaken.into());
    }

    if !cx.organization.is_system() {
        quotas::take(cx, Resource::MaxUsers, 1)?;
        quotas::take(cx, Resource::MaxActiveUsers, 1)?;
    }
    let row = params![
        user.id.to_string(),
        user.email,
        user.first_name,
        user.last_name,
        user.role.name(),
        user.password_hash,
        cx.at.0
    ];
    cx.tx.prepare_cached(INSERT)?.execute(row)?;

    cx.note("user", user.id, json!({ "role": user.role }));
    cx.note_personal(json!({ "email": user.email }));
    Ok(())
}

/// Creates a user of the organization.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateUser {
    /// The user.
    pub user: NewUser,
}

impl Command for CreateUser {
    const KIND: Kind = Kind::new("identity.create_user", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = UserId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<UserId, Stop> {
        if (self.user.role == Role::PlatformAdmin) != cx.organization.is_system() {
            return Err(Refusal::field("/role", "is not a role of this organization").into());
        }
        access::require_may_give_role(cx, self.user.role)?;
        add_user(cx, &self.user)?;
        Ok(self.user.id)
    }
}

/// Remembers that a user has logged in. Answers whether it may: it may have been deactivated meanwhile.
pub fn stamp_login(cx: &mut Apply<'_>, user: UserId) -> Result<bool, Stop> {
    Ok(cx.tx.prepare_cached(STAMP_LOGIN)?.execute((user.to_string(), cx.at.0))? == 1)
}

impl From<UnknownRole> for Fault {
    fn from(role: UnknownRole) -> Self {
        Self::found(format!("a user's row names an unknown role {:?}", role.0))
    }
}

/// A role that this binary does not know.
pub(super) struct UnknownRole(pub(super) String);

const INSERT: &str = "INSERT INTO identity_users
    (id, email, first_name, last_name, role, password_hash, is_active, created_ms, updated_ms, version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, 1)";
const STAMP_LOGIN: &str = "UPDATE identity_users SET last_login_ms = ?2 WHERE id = ?1 AND is_active = 1";
