//! Reading users.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{commands::UnknownRole, model::User};
use crate::kernel::{Fault, Millis, Page, UserId, Window};

/// A user's stored password hash, beside the user.
pub struct Login {
    /// The user.
    pub user: User,
    /// Its argon2id hash; none when it has no password.
    pub password_hash: Option<String>,
}

/// Who logs in with an e-mail address.
pub fn by_email(tx: &Connection, email: &str) -> Result<Option<Login>, Fault> {
    let sql = format!("{SELECT} WHERE email = ?1");
    tx.prepare_cached(&sql)?.query_row([email], read_row).optional()?.map(parse).transpose()
}

/// A user, by its id.
pub fn by_id(tx: &Connection, id: UserId) -> Result<Option<User>, Fault> {
    let sql = format!("{SELECT} WHERE id = ?1");
    let login =
        tx.prepare_cached(&sql)?.query_row([id.to_string()], read_row).optional()?.map(parse).transpose()?;
    Ok(login.map(|login| login.user))
}

pub(super) fn list(tx: &Connection, window: &Window) -> Result<Page<User>, Fault> {
    let sql = format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map((window.after.as_deref().unwrap_or(""), window.probe()), read_row)?;
    let users = rows.map(|row| Ok(parse(row?)?.user)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(users, window, |user| user.id.to_string()))
}

struct Raw {
    id: String,
    role: String,
    login: Box<dyn FnOnce(UserId, crate::kernel::Role) -> Login>,
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let (email, first_name, last_name): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let password_hash: Option<String> = row.get(5)?;
    let is_active: bool = row.get(6)?;
    let last_login = row.get::<_, Option<i64>>(7)?.map(Millis);
    let (created, version) = (Millis(row.get(8)?), row.get(9)?);
    let login = move |id, role| Login {
        user: User { id, email, first_name, last_name, role, is_active, last_login, created, version },
        password_hash,
    };
    Ok(Raw { id: row.get(0)?, role: row.get(4)?, login: Box::new(login) })
}

fn parse(raw: Raw) -> Result<Login, Fault> {
    let role = raw.role.parse().map_err(|()| UnknownRole(raw.role.clone()))?;
    let id = raw.id.parse().map_err(|error| Fault::new(format!("read the user id {:?}", raw.id), error))?;
    Ok((raw.login)(id, role))
}

const SELECT: &str = "SELECT id, email, first_name, last_name, role, password_hash, is_active, last_login_ms,
    created_ms, version FROM identity_users";
