//! The rows as they lie.

use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::de::DeserializeOwned;

use crate::{
    features::access::model::{CustomRole, Grant, Group, Holding, Policy, Subject},
    kernel::{Fault, GrantId, GroupId, Millis, Page, PolicyId, RoleId, UserId, Window},
};

/// A row's body with its version.
#[derive(Clone, Debug)]
pub(in crate::features::access) struct Stored<T> {
    pub(in crate::features::access) value: T,
    pub(in crate::features::access) version: i64,
    pub(in crate::features::access) created: Millis,
    pub(in crate::features::access) updated: Millis,
}

type Raw = (String, i64, i64, i64);

fn read_raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn parse<T: DeserializeOwned>((body, version, created, updated): Raw) -> Result<Stored<T>, Fault> {
    let broken = |error| Fault::new(format!("read the access rule {body:?}"), error);
    let value = serde_json::from_str(&body).map_err(broken)?;
    Ok(Stored { value, version, created: Millis(created), updated: Millis(updated) })
}

fn one<T: DeserializeOwned>(tx: &Connection, sql: &str, id: &str) -> Result<Option<Stored<T>>, Fault> {
    tx.prepare_cached(sql)?.query_row([id], read_raw).optional()?.map(parse).transpose()
}

fn many<T: DeserializeOwned>(
    tx: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Stored<T>>, Fault> {
    let mut statement = tx.prepare_cached(sql)?;
    statement.query_map(params, read_raw)?.map(|row| parse(row?)).collect()
}

fn page<T: DeserializeOwned>(
    tx: &Connection,
    sql: &str,
    window: &Window,
    key: impl Fn(&T) -> String,
) -> Result<Page<Stored<T>>, Fault> {
    let after = window.after.as_deref().unwrap_or("");
    Ok(Page::cut(many(tx, sql, (after, window.probe()))?, window, |stored: &Stored<T>| key(&stored.value)))
}

type One<T> = Result<Option<Stored<T>>, Fault>;
type Many<T> = Result<Page<Stored<T>>, Fault>;

pub(in crate::features::access) fn role(tx: &Connection, id: RoleId) -> One<CustomRole> {
    one(tx, ROLE, &id.to_string())
}

pub(in crate::features::access) fn group(tx: &Connection, id: GroupId) -> One<Group> {
    one(tx, GROUP, &id.to_string())
}

pub(in crate::features::access) fn grant(tx: &Connection, id: GrantId) -> One<Grant> {
    one(tx, GRANT, &id.to_string())
}

pub(in crate::features::access) fn list_roles(tx: &Connection, window: &Window) -> Many<CustomRole> {
    page(tx, ROLES, window, |role: &CustomRole| role.id.to_string())
}

pub(in crate::features::access) fn list_groups(tx: &Connection, window: &Window) -> Many<Group> {
    page(tx, GROUPS, window, |group: &Group| group.id.to_string())
}

pub(in crate::features::access) fn list_grants(tx: &Connection, window: &Window) -> Many<Grant> {
    page(tx, GRANTS, window, |grant: &Grant| grant.id.to_string())
}

pub(in crate::features::access) fn policy(tx: &Connection, id: PolicyId) -> One<Policy> {
    one(tx, POLICY, &id.to_string())
}

pub(in crate::features::access) fn list_policies(tx: &Connection, window: &Window) -> Many<Policy> {
    page(tx, POLICIES, window, |policy: &Policy| policy.id.to_string())
}

/// Every policy, by id.
pub(in crate::features::access) fn all_policies(tx: &Connection) -> Result<Vec<Stored<Policy>>, Fault> {
    many(tx, POLICIES, ("", u32::MAX))
}

/// Users of a group.
pub(in crate::features::access) fn list_members(
    tx: &Connection,
    group: GroupId,
    window: &Window,
) -> Result<Page<String>, Fault> {
    let after = window.after.as_deref().unwrap_or("");
    let mut statement = tx.prepare_cached(MEMBERS)?;
    let rows = statement.query_map((group.to_string(), after, window.probe()), |row| row.get(0))?;
    Ok(Page::cut(rows.collect::<Result<Vec<String>, _>>()?, window, Clone::clone))
}

/// Who has a role.
pub(in crate::features::access) fn list_holdings(
    tx: &Connection,
    role: RoleId,
    window: &Window,
) -> Result<Page<Holding>, Fault> {
    let after = window.after.as_deref().unwrap_or("");
    let mut statement = tx.prepare_cached(HOLDINGS_OF_ROLE)?;
    let rows = statement.query_map((role.to_string(), after, window.probe()), read_holding)?;
    let holdings = rows.map(|row| parse_holding(row?)).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Page::cut(holdings, window, |holding| holding.subject.to_string()))
}

/// Active users, by id.
pub(in crate::features::access) fn list_users(
    tx: &Connection,
    window: &Window,
) -> Result<Page<UserId>, Fault> {
    let after = window.after.as_deref().unwrap_or("");
    let mut statement = tx.prepare_cached(USERS)?;
    let rows = statement.query_map((after, window.probe()), |row| row.get::<_, String>(0))?;
    let mut users = Vec::new();
    for row in rows {
        let id = row?;
        users.push(id.parse().map_err(|error| Fault::new(format!("read the user id {id:?}"), error))?);
    }
    Ok(Page::cut(users, window, ToString::to_string))
}

/// A user's groups, in order.
pub(in crate::features::access) fn groups_of(tx: &Connection, user: UserId) -> Result<Vec<GroupId>, Fault> {
    let mut statement = tx.prepare_cached(GROUPS_OF)?;
    let rows = statement.query_map([user.to_string()], |row| row.get::<_, String>(0))?;
    let mut groups = Vec::new();
    for row in rows {
        let id = row?;
        groups.push(id.parse().map_err(|error| Fault::new(format!("read the group id {id:?}"), error))?);
    }
    groups.sort_unstable();
    Ok(groups)
}

/// Custom roles given to a user or a group itself.
pub(in crate::features::access) fn holdings_of(
    tx: &Connection,
    subject: Subject,
) -> Result<Vec<Holding>, Fault> {
    let mut statement = tx.prepare_cached(HOLDINGS_OF)?;
    statement.query_map([subject.to_string()], read_holding)?.map(|row| parse_holding(row?)).collect()
}

/// Whether a subject has a role itself.
pub(in crate::features::access) fn holding(
    tx: &Connection,
    role: RoleId,
    subject: Subject,
) -> Result<Option<Holding>, Fault> {
    Ok(holdings_of(tx, subject)?.into_iter().find(|holding| holding.role == role))
}

type RawHolding = (String, String, Option<i64>);

fn read_holding(row: &Row<'_>) -> rusqlite::Result<RawHolding> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn parse_holding((role, subject, expires): RawHolding) -> Result<Holding, Fault> {
    let wrong = || Fault::found(format!("a row gives the role {role:?} to {subject:?}"));
    Ok(Holding {
        role: role.parse().map_err(|_| wrong())?,
        subject: subject.parse().map_err(|()| wrong())?,
        expires: expires.map(Millis),
    })
}

/// Grants and denials about a subject itself.
pub(in crate::features::access) fn grants_of(tx: &Connection, subject: Subject) -> Result<Vec<Grant>, Fault> {
    let stored = many(tx, GRANTS_OF, [subject.to_string()])?;
    Ok(stored.into_iter().map(|stored: Stored<Grant>| stored.value).collect())
}

/// Grants and roles that are about a group, or whose conditions name it.
pub(in crate::features::access) fn concerns_group(
    tx: &Connection,
    group: GroupId,
) -> Result<(Vec<Grant>, Vec<CustomRole>), Fault> {
    let id = group.to_string();
    let grants = many(tx, GRANTS_NAMING, [&id])?.into_iter().map(|stored: Stored<Grant>| stored.value);
    let roles = many(tx, ROLES_NAMING, [&id])?.into_iter().map(|stored: Stored<CustomRole>| stored.value);
    Ok((grants.collect(), roles.collect()))
}

/// How many grants, holdings, roles or policies name an id.
pub(in crate::features::access) fn mentions(tx: &Connection, id: &str) -> Result<i64, Fault> {
    Ok(tx.prepare_cached(MENTIONS)?.query_row([id], |row| row.get(0))?)
}

/// Whether a policy names an id.
pub(in crate::features::access) fn policies_name(tx: &Connection, id: &str) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(POLICIES_NAMING)?.query_row([id], |row| row.get(0))?)
}

/// How many rows a table of the slice has.
pub(in crate::features::access) fn count(tx: &Connection, what: &str) -> Result<i64, Fault> {
    let sql = match what {
        "role" => "SELECT count(*) FROM access_roles",
        "group" => "SELECT count(*) FROM access_groups",
        "policy" => "SELECT count(*) FROM access_policies",
        _ => "SELECT count(*) FROM access_grants",
    };
    Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Whether another row of the kind has the name.
pub(in crate::features::access) fn is_name_taken(
    tx: &Connection,
    what: &str,
    name: &str,
    id: &str,
) -> Result<bool, Fault> {
    let sql = match what {
        "role" => "SELECT EXISTS (SELECT 1 FROM access_roles WHERE name = ?1 AND id <> ?2)",
        "group" => "SELECT EXISTS (SELECT 1 FROM access_groups WHERE name = ?1 AND id <> ?2)",
        _ => "SELECT EXISTS (SELECT 1 FROM access_policies WHERE name = ?1 AND id <> ?2)",
    };
    Ok(tx.prepare_cached(sql)?.query_row((name, id), |row| row.get(0))?)
}

pub(in crate::features::access) fn user_exists(tx: &Connection, user: UserId) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(USER)?.query_row([user.to_string()], |row| row.get(0))?)
}

/// The active user with an address.
pub(in crate::features::access) fn user_with_email(
    tx: &Connection,
    email: &str,
) -> Result<Option<UserId>, Fault> {
    let id: Option<String> =
        tx.prepare_cached(USER_WITH_EMAIL)?.query_row([email], |row| row.get(0)).optional()?;
    let parsed =
        id.map(|id| id.parse().map_err(|error| Fault::new(format!("read the user id {id:?}"), error)));
    parsed.transpose()
}

/// Names of a user's groups, in order.
pub fn group_names_of(tx: &Connection, user: UserId) -> Result<Vec<String>, Fault> {
    let mut statement = tx.prepare_cached(GROUP_NAMES_OF)?;
    let names = statement.query_map([user.to_string()], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Whether anything has expired at a moment.
pub(in crate::features::access) fn any_expired(tx: &Connection, at: Millis) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(EXPIRED)?.query_row([at.0], |row| row.get(0))?)
}

const ROLE: &str = "SELECT body, version, created_ms, updated_ms FROM access_roles WHERE id = ?1";
const GROUP: &str = "SELECT body, version, created_ms, updated_ms FROM access_groups WHERE id = ?1";
const GRANT: &str = "SELECT body, version, created_ms, updated_ms FROM access_grants WHERE id = ?1";
const ROLES: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_roles WHERE id > ?1 ORDER BY id LIMIT ?2";
const GROUPS: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_groups WHERE id > ?1 ORDER BY id LIMIT ?2";
const GRANTS: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_grants WHERE id > ?1 ORDER BY id LIMIT ?2";
const POLICY: &str = "SELECT body, version, created_ms, updated_ms FROM access_policies WHERE id = ?1";
const POLICIES: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_policies WHERE id > ?1 ORDER BY id LIMIT ?2";
const GRANTS_OF: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_grants WHERE subject = ?1 ORDER BY id";
const GRANTS_NAMING: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_grants WHERE instr(body, ?1) > 0 ORDER BY id";
const ROLES_NAMING: &str =
    "SELECT body, version, created_ms, updated_ms FROM access_roles WHERE instr(body, ?1) > 0 ORDER BY id";
const MEMBERS: &str = "SELECT user_id FROM access_members WHERE group_id = ?1 AND user_id > ?2
    ORDER BY user_id LIMIT ?3";
const GROUPS_OF: &str = "SELECT group_id FROM access_members WHERE user_id = ?1 ORDER BY group_id";
const HOLDINGS_OF: &str =
    "SELECT role, subject, expires_ms FROM access_holdings WHERE subject = ?1 ORDER BY role";
const HOLDINGS_OF_ROLE: &str = "SELECT role, subject, expires_ms FROM access_holdings
    WHERE role = ?1 AND subject > ?2 ORDER BY subject LIMIT ?3";
const MENTIONS: &str = "SELECT (SELECT count(*) FROM access_grants WHERE instr(body, ?1) > 0)
    + (SELECT count(*) FROM access_roles WHERE instr(body, ?1) > 0 AND id <> ?1)
    + (SELECT count(*) FROM access_holdings WHERE role = ?1 OR subject = 'group:' || ?1)
    + (SELECT count(*) FROM access_policies WHERE instr(body, ?1) > 0)";
const POLICIES_NAMING: &str = "SELECT EXISTS (SELECT 1 FROM access_policies WHERE instr(body, ?1) > 0)";
const USERS: &str = "SELECT id FROM identity_users WHERE id > ?1 AND state = 'active' ORDER BY id LIMIT ?2";
const USER: &str = "SELECT EXISTS (SELECT 1 FROM identity_users WHERE id = ?1)";
const USER_WITH_EMAIL: &str = "SELECT id FROM identity_users WHERE email = ?1 AND state = 'active'";
const GROUP_NAMES_OF: &str =
    "SELECT name FROM access_members JOIN access_groups ON access_groups.id = group_id
    WHERE user_id = ?1 ORDER BY name";
const EXPIRED: &str = "SELECT EXISTS (SELECT 1 FROM access_grants WHERE expires_ms <= ?1)
    OR EXISTS (SELECT 1 FROM access_holdings WHERE expires_ms <= ?1)";
