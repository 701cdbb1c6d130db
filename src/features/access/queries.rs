//! Reading roles and grants.

use rusqlite::{Connection, OptionalExtension};

use super::model::Standing;
use crate::kernel::{Actor, Fault, OrgId, Role, SessionId, UserId};

/// Where `actor` stands towards the organization whose file `tx` is.
pub fn standing(tx: &Connection, organization: OrgId, actor: &Actor) -> Result<Standing, Fault> {
    Ok(match actor {
        Actor::System => Standing::System,
        Actor::Platform { user, session } if organization.is_system() => member(tx, *user, *session)?,
        Actor::Platform { .. } => Standing::Operator,
        Actor::User { organization: home, user, session, .. } if *home == organization => {
            member(tx, *user, *session)?
        }
        Actor::User { organization: home, role: Role::Admin, .. } => overseer(tx, organization, *home)?,
        Actor::Anonymous | Actor::User { .. } => Standing::Stranger,
    })
}

/// A member in a session that has ended is nobody here any more.
fn member(tx: &Connection, user: UserId, session: Option<SessionId>) -> Result<Standing, Fault> {
    let key = (user.to_string(), session.map(|session| session.to_string()));
    let role: Option<String> = tx.prepare_cached(ROLE)?.query_row(key, |row| row.get(0)).optional()?;
    let role = role.and_then(|name| name.parse().ok());
    Ok(role.map_or(Standing::Stranger, Standing::Member))
}

fn overseer(tx: &Connection, organization: OrgId, home: OrgId) -> Result<Standing, Fault> {
    if organization.is_system() {
        return Ok(Standing::Stranger);
    }
    let granted: bool = tx.prepare_cached(GRANTED)?.query_row([home.to_string()], |row| row.get(0))?;
    Ok(if granted { Standing::Overseer } else { Standing::Stranger })
}

/// The role of an active user of this file.
pub fn role_of(tx: &Connection, user: UserId) -> Result<Option<Role>, Fault> {
    match member(tx, user, None)? {
        Standing::Member(role) => Ok(Some(role)),
        _ => Ok(None),
    }
}

/// The organization that an id or a slug stands for; `system` is one too. Asked of the system file.
pub fn organization_named(tx: &Connection, name: &str) -> Result<Option<OrgId>, Fault> {
    if name == "system" || name == OrgId::SYSTEM.to_string() {
        return Ok(Some(OrgId::SYSTEM));
    }
    find(tx, NAMED, &name.to_lowercase())
}

fn find(tx: &Connection, sql: &str, key: &str) -> Result<Option<OrgId>, Fault> {
    let id: Option<String> = tx.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| id.parse().ok()))
}

const ROLE: &str = "SELECT role FROM identity_users WHERE id = ?1 AND state = 'active'
    AND (?2 IS NULL OR EXISTS (SELECT 1 FROM sessions_open WHERE id = ?2 AND user_id = ?1))";
const GRANTED: &str = "SELECT EXISTS (SELECT 1 FROM access_grants WHERE organization = ?1)";
const NAMED: &str = "SELECT id FROM organizations_registry WHERE id = ?1 OR slug = ?1 ORDER BY id LIMIT 1";
