//! Reading users, links and the rules of the house.

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::{Map, Value};

use super::model::{House, State, User};
use crate::kernel::{Fault, Millis, Page, Role, UserId, Window};

/// A user's stored password hash, beside the user.
pub struct Login {
    /// The user.
    pub user: User,
    /// Its argon2id hash; none when it has no password.
    pub password_hash: Option<String>,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) state: Option<State>,
    pub(super) role: Option<Role>,
    /// Text that the address or a name contains.
    pub(super) text: Option<String>,
}

/// What a link that has not been used stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredLink {
    pub(super) user: UserId,
    pub(super) purpose: String,
    pub(super) expires: Millis,
    /// Whether who invited could have approved, too.
    pub(super) approved: bool,
}

/// Who logs in with an e-mail address or a username (in lower case).
pub fn by_login(tx: &Connection, name: &str) -> Result<Option<Login>, Fault> {
    let sql = format!("{SELECT} WHERE email = ?1 OR username = ?1 ORDER BY email = ?1 DESC LIMIT 1");
    tx.prepare_cached(&sql)?.query_row([name], read_row).optional()?.map(parse).transpose()
}

/// A user with its password hash.
pub fn by_user(tx: &Connection, id: UserId) -> Result<Option<Login>, Fault> {
    let sql = format!("{SELECT} WHERE id = ?1");
    tx.prepare_cached(&sql)?.query_row([id.to_string()], read_row).optional()?.map(parse).transpose()
}

/// A user.
pub fn by_id(tx: &Connection, id: UserId) -> Result<Option<User>, Fault> {
    Ok(by_user(tx, id)?.map(|login| login.user))
}

/// An active user of the highest role there is here: with this address, or the one created first.
pub fn administrator(tx: &Connection, role: Role, email: Option<&str>) -> Result<Option<User>, Fault> {
    let sql = format!(
        "{SELECT} WHERE role = ?1 AND state = 'active' AND (?2 IS NULL OR email = ?2) ORDER BY id LIMIT 1"
    );
    let found = tx.prepare_cached(&sql)?.query_row((role.name(), email), read_row).optional()?;
    Ok(found.map(parse).transpose()?.map(|login| login.user))
}

pub(super) fn list(tx: &Connection, filter: &Filter, window: &Window) -> Result<Page<User>, Fault> {
    let sql = format!(
        "{SELECT} WHERE id > :after
           AND (:state IS NULL OR state = :state)
           AND (:role IS NULL OR role = :role)
           AND (:text IS NULL OR instr(email, :text) > 0 OR instr(lower(first_name || ' ' || last_name), :text) > 0
                OR instr(coalesce(username, ''), :text) > 0)
         ORDER BY id LIMIT :limit"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":after": window.after.as_deref().unwrap_or(""),
            ":state": filter.state.map(State::name),
            ":role": filter.role.map(Role::name),
            ":text": filter.text.as_ref().map(|text| text.to_lowercase()),
            ":limit": window.probe(),
        },
        read_row,
    )?;
    let users = rows.map(|row| Ok(parse(row?)?.user)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(users, window, |user| user.id.to_string()))
}

/// Whether somebody else has the address or the username.
pub(super) fn name_is_taken(tx: &Connection, name: &str, but: UserId) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(TAKEN)?.query_row((name, but.to_string()), |row| row.get(0))?)
}

/// Whether an active user of `role` is there beside `but`.
pub(super) fn another_active(tx: &Connection, role: Role, but: UserId) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(ANOTHER)?.query_row((role.name(), but.to_string()), |row| row.get(0))?)
}

/// Active users who have not logged in since `before` and may be deactivated for it, oldest first.
pub(super) fn inactive_since(tx: &Connection, before: Millis, limit: u32) -> Result<Vec<UserId>, Fault> {
    let mut statement = tx.prepare_cached(INACTIVE)?;
    let rows = statement.query_map((before.0, limit), |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(&id?)).collect()
}

/// Those who get in when nothing else does.
pub(super) fn break_glass(tx: &Connection) -> Result<Vec<UserId>, Fault> {
    let mut statement = tx.prepare_cached(BREAK_GLASS)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(&id?)).collect()
}

/// An unused link by the digest of its secret.
pub(super) fn link(tx: &Connection, digest: &str) -> Result<Option<StoredLink>, Fault> {
    let row = tx
        .prepare_cached(LINK)?
        .query_row([digest], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, bool>(3)?,
            ))
        })
        .optional()?;
    row.map(|(user, purpose, expires, approved)| {
        Ok(StoredLink { user: parse_id(&user)?, purpose, expires: Millis(expires), approved })
    })
    .transpose()
}

/// The rules of the organization whose file this is.
pub(super) fn house(tx: &Connection) -> Result<House, Fault> {
    let profiled: bool = tx.prepare_cached(HAS_PROFILE)?.query_row([], |row| row.get(0))?;
    if !profiled {
        return Ok(House::default());
    }
    let settings: Option<String> =
        tx.prepare_cached(SETTINGS)?.query_row([], |row| row.get(0)).optional()?.flatten();
    let Some(settings) = settings else { return Ok(House::default()) };
    serde_json::from_str(&settings).map_err(|error| Fault::new("read the settings of an organization", error))
}

/// What others know about the organization, for judging passwords.
pub(super) fn known_names(tx: &Connection) -> Result<Vec<String>, Fault> {
    let profiled: bool = tx.prepare_cached(HAS_PROFILE)?.query_row([], |row| row.get(0))?;
    if !profiled {
        return Ok(Vec::new());
    }
    let names =
        tx.prepare_cached(NAMES)?.query_row([], |row| Ok(vec![row.get(0)?, row.get(1)?, row.get(2)?]));
    Ok(names.optional()?.unwrap_or_default())
}

/// A deleted user whose traces are not all gone: who, the address, and up to where they are.
pub(super) fn erasure(tx: &Connection) -> Result<Option<(UserId, String, i64)>, Fault> {
    let row = tx
        .prepare_cached(ERASURE)?
        .query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))
        .optional()?;
    row.map(|(id, email, done)| Ok((parse_id(&id)?, email, done))).transpose()
}

struct Raw {
    id: String,
    role: String,
    state: String,
    preferences: String,
    user: User,
    password_hash: Option<String>,
}

/// What the columns say by themselves; id, role, state and preferences are parsed after.
fn read_row(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let user = User {
        id: UserId(uuid::Uuid::nil()),
        email: row.get(1)?,
        username: row.get(2)?,
        first_name: row.get(3)?,
        last_name: row.get(4)?,
        role: Role::Analyst,
        state: State::Active,
        must_change_password: row.get(8)?,
        break_glass: row.get(9)?,
        preferences: Map::new(),
        last_login: row.get::<_, Option<i64>>(11)?.map(Millis),
        created: Millis(row.get(12)?),
        updated: Millis(row.get(13)?),
        version: row.get(14)?,
    };
    Ok(Raw {
        id: row.get(0)?,
        role: row.get(5)?,
        state: row.get(7)?,
        preferences: row.get(10)?,
        password_hash: row.get(6)?,
        user,
    })
}

fn parse(raw: Raw) -> Result<Login, Fault> {
    let Raw { id, role, state, preferences, user, password_hash } = raw;
    let unknown =
        |what: &str, text: &str| Fault::found(format!("the row of user {id} has the {what} {text:?}"));
    let role = role.parse().map_err(|()| unknown("role", &role))?;
    let state = state.parse().map_err(|()| unknown("state", &state))?;
    let preferences: Map<String, Value> =
        serde_json::from_str(&preferences).map_err(|_| unknown("preferences", &preferences))?;
    let user = User { id: parse_id(&id)?, role, state, preferences, ..user };
    Ok(Login { user, password_hash })
}

fn parse_id(id: &str) -> Result<UserId, Fault> {
    id.parse().map_err(|error| Fault::new(format!("read the user id {id:?}"), error))
}

const SELECT: &str = "SELECT id, email, username, first_name, last_name, role, password_hash, state,
    must_change_password, break_glass, preferences, last_login_ms, created_ms, updated_ms, version
    FROM identity_users";
const TAKEN: &str =
    "SELECT EXISTS (SELECT 1 FROM identity_users WHERE (email = ?1 OR username = ?1) AND id <> ?2)";
const ANOTHER: &str =
    "SELECT EXISTS (SELECT 1 FROM identity_users WHERE role = ?1 AND state = 'active' AND id <> ?2)";
const INACTIVE: &str = "SELECT id FROM identity_users
    WHERE state = 'active' AND break_glass = 0 AND max(coalesce(last_login_ms, 0), activated_ms) < ?1
    ORDER BY id LIMIT ?2";
const BREAK_GLASS: &str = "SELECT id FROM identity_users WHERE break_glass = 1 ORDER BY id";
const LINK: &str = "SELECT user_id, purpose, expires_ms, approved FROM identity_links WHERE digest = ?1";
const HAS_PROFILE: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'organizations_profile')";
const SETTINGS: &str = "SELECT json_extract(details, '$.settings') FROM organizations_profile WHERE one = 1";
const NAMES: &str = "SELECT slug, domain, coalesce(json_extract(details, '$.name'), '') FROM organizations_profile WHERE one = 1";
const ERASURE: &str = "SELECT user_id, email, erased_to FROM identity_erasures ORDER BY user_id LIMIT 1";
