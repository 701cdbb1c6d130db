//! Users, and the states they go through.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::kernel::{Millis, Role, UserId};

/// Where a user's life stands.
///
/// `invited -> (pending ->) active <-> deactivated`; a user created by an administrator begins as active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Has a link and has not used it.
    Invited,
    /// Has used it and waits for an administrator's approval.
    Pending,
    /// May log in.
    #[default]
    Active,
    /// May not log in, and keeps its place.
    Deactivated,
}

impl State {
    /// Their names.
    pub const NAMES: &[&str] = &["invited", "pending", "active", "deactivated"];
    const ALL: &[Self] = &[Self::Invited, Self::Pending, Self::Active, Self::Deactivated];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
        }
    }

    /// Whether it takes one of the seats for active users.
    pub fn takes_active_seat(self) -> bool {
        self == Self::Active
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|state| state.name() == text).ok_or(())
    }
}

/// A user as a command creates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address, in lower case; unique within the organization.
    pub email: String,
    /// The name it also logs in with, in lower case; unique within the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Given name.
    #[serde(default)]
    pub first_name: String,
    /// Family name.
    #[serde(default)]
    pub last_name: String,
    /// Its role.
    pub role: Role,
    /// Its argon2id hash; a user without one cannot log in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}

/// A user as it is stored.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
    /// The name it also logs in with.
    pub username: Option<String>,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Its role.
    pub role: Role,
    /// Where its life stands.
    pub state: State,
    /// Whether it must choose a new password before it gets a session.
    pub must_change_password: bool,
    /// Whether it is one of those that get in when nothing else does; every login of it is an alarm.
    pub break_glass: bool,
    /// What it likes, as its client wrote it.
    pub preferences: Map<String, Value>,
    /// When it last logged in.
    pub last_login: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// When its row changed last.
    pub updated: Millis,
    /// Its row's version.
    pub version: i64,
}

impl User {
    /// Whether it may log in.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// As both versions of the API show it.
    pub fn view(&self) -> Value {
        json!({
            "id": self.id,
            "email": self.email,
            "username": self.username,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "role": self.role,
            "state": self.state,
            "is_active": self.is_active(),
            "must_change_password": self.must_change_password,
            "break_glass": self.break_glass,
            "preferences": self.preferences,
            "last_login": self.last_login.map(|at| at.to_string()),
            "created_at": self.created.to_string(),
            "updated_at": self.updated.to_string(),
        })
    }
}
