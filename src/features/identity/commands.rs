//! Creating users and opening sessions.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    model::{NewUser, User},
    queries,
};
use crate::{
    cluster::{Apply, Command, Kind},
    features::quotas::{self, Resource},
    kernel::{Fault, Permission, Refusal, Role, SessionId, UserId},
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
        add_user(cx, &self.user)?;
        Ok(self.user.id)
    }
}

/// Somebody proved who they are: a session begins.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// How long it lasts, from the entry's stamp.
    pub lasts_ms: i64,
}

impl Command for OpenSession {
    const KIND: Kind = Kind::new("identity.open_session", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = SessionId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<SessionId, Stop> {
        let user: Option<User> = queries::by_id(cx.tx, self.user)?;
        // Deactivated between the edge's look and now.
        let Some(user) = user.filter(|user| user.is_active) else {
            return Err(Refusal::Unauthenticated.into());
        };

        let expires = cx.at.plus(self.lasts_ms);

        // Ended sessions go when new ones come: the table stays as large as its live part.
        cx.tx.prepare_cached(FORGET_SESSIONS)?.execute([cx.at.0])?;
        let (session, user_id) = (self.session.to_string(), user.id.to_string());
        cx.tx.prepare_cached(INSERT_SESSION)?.execute((&session, &user_id, cx.at.0, expires.0))?;
        cx.tx.prepare_cached(STAMP_LOGIN)?.execute((&user_id, cx.at.0))?;

        cx.note("session", self.session, json!({ "user": user_id, "expires_at": expires.to_string() }));
        Ok(self.session)
    }
}

/// Somebody did not prove who they are. Changes nothing; the refusal is the event.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefuseLogin {
    /// HMAC of the e-mail address under the event's salt would be guessable by trial: it is kept aside.
    pub email: String,
}

impl Command for RefuseLogin {
    const KIND: Kind = Kind::new("identity.refuse_login", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.note("session", "none", json!({ "login": "refused" }));
        cx.note_personal(json!({ "email": self.email }));
        Ok(())
    }
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
const FORGET_SESSIONS: &str = "DELETE FROM identity_sessions WHERE expires_ms <= ?1";
const INSERT_SESSION: &str =
    "INSERT INTO identity_sessions (id, user_id, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4)";
const STAMP_LOGIN: &str = "UPDATE identity_users SET last_login_ms = ?2 WHERE id = ?1";
