//! Users, and the rules of passwords.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kernel::{Millis, Role, UserId};

/// A user as a command creates it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address, in lower case; unique within the organization.
    pub email: String,
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
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Its role.
    pub role: Role,
    /// Whether it may log in.
    pub is_active: bool,
    /// When it last logged in.
    pub last_login: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// Its row's version.
    pub version: i64,
}

impl User {
    /// As both versions of the API show it.
    pub fn view(&self) -> Value {
        json!({
            "id": self.id,
            "email": self.email,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "role": self.role,
            "is_active": self.is_active,
            "last_login": self.last_login.map(|at| at.to_string()),
            "created_at": self.created.to_string(),
        })
    }
}

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in characters.
pub const PASSWORD_CHARS_MAX: usize = 128;

/// Whether a password is long enough, or what would be right.
pub fn judge_password(password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    Err(format!("must be {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters long"))
}
