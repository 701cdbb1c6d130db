//! A change tried out on a copy: the very command, in memory, and what every user may do before and after.

use rusqlite::{Connection, types::Value};

use super::{DeleteGrant, SaveGrant, SavePolicy, SaveRole};
use crate::{
    cluster::{Apply, Asks, Command},
    features::access::{
        model::{Circumstances, Compiled, CustomRole, Grant, Policy, Verdict},
        queries,
    },
    kernel::{
        Actor, Attributes, Fault, GrantId, Millis, OrgId, Origin, Permission, PermissionSet, RequestId,
        UserId, Window,
    },
    store::{LEVEL, Stop},
};

/// Users looked at, at most: a larger organization learns about the first of them, by id.
const USERS_MAX: u32 = 2_000;
/// Differences listed, at most.
const DIFFERENCES_MAX: usize = 5_000;

/// A change that is not saved.
pub(in crate::features::access) enum Proposed {
    /// A grant or a denial.
    Grant { grant: Grant, new: bool },
    /// A role.
    Role { role: CustomRole, new: bool },
    /// A policy.
    Policy { policy: Policy, new: bool },
    /// A grant or a denial goes.
    DeleteGrant(GrantId),
}

/// One permission of one user that would change.
pub(in crate::features::access) struct Difference {
    pub(in crate::features::access) user: UserId,
    pub(in crate::features::access) permission: Permission,
    pub(in crate::features::access) before: Verdict,
    pub(in crate::features::access) after: Verdict,
}

/// What would change.
pub(in crate::features::access) struct Simulated {
    pub(in crate::features::access) differences: Vec<Difference>,
    /// How many users were looked at.
    pub(in crate::features::access) users: usize,
    /// Whether there are more users, or more differences.
    pub(in crate::features::access) truncated: bool,
}

/// Tries the change as `actor`, who must be allowed to save it.
pub(in crate::features::access) fn simulate(
    tx: &Connection,
    organization: OrgId,
    actor: &Actor,
    at: Millis,
    proposed: Proposed,
) -> Result<Simulated, Stop> {
    let (copy, origin) = (copied(tx)?, Origin::default());
    let actor = &without_session(actor);
    {
        let mut cx =
            Apply::new(&copy, at, organization, (actor, &origin), RequestId(uuid::Uuid::nil()), LEVEL);
        match proposed {
            Proposed::Grant { grant, new } => run(&mut cx, SaveGrant { grant, new, if_version: None })?,
            Proposed::Role { role, new } => run(&mut cx, SaveRole { role, new, if_version: None })?,
            Proposed::Policy { policy, new } => {
                run(&mut cx, SavePolicy { policy, new, if_version: None })?;
            }
            Proposed::DeleteGrant(grant) => run(&mut cx, DeleteGrant { grant, if_version: None })?,
        }
    }
    compared(tx, &copy, organization, at)
}

/// The edge has recognised the actor in its session; the copy has no sessions.
fn without_session(actor: &Actor) -> Actor {
    match actor.clone() {
        Actor::User { organization, user, role, .. } => {
            Actor::User { organization, user, role, session: None }
        }
        other => other,
    }
}

fn run<C: Command>(cx: &mut Apply<'_>, command: C) -> Result<(), Stop> {
    super::require(cx, C::NEEDS, Asks::Once)?;
    command.apply(cx).map(drop)
}

fn compared(
    before: &Connection,
    after: &Connection,
    organization: OrgId,
    at: Millis,
) -> Result<Simulated, Stop> {
    let page = queries::list_users(before, &Window { limit: USERS_MAX, after: None })?;
    let (mut differences, users) = (Vec::new(), page.rows.len());
    for user in page.rows {
        let was = queries::compiled_for(before, organization, user)?;
        let is = queries::compiled_for(after, organization, user)?;
        differences.extend(of_user(user, &was, &is, at));
    }
    let truncated = page.next.is_some() || differences.len() > DIFFERENCES_MAX;
    differences.truncate(DIFFERENCES_MAX);
    Ok(Simulated { differences, users, truncated })
}

fn of_user(user: UserId, was: &Compiled, is: &Compiled, at: Millis) -> Vec<Difference> {
    let how = Circumstances { at, ..Circumstances::default() };
    let verdict =
        |rights: &Compiled, permission| rights.decide(permission, &Attributes::UNKNOWN, &how).verdict;
    let each = PermissionSet::GRANTABLE.iter().map(|permission| {
        let (before, after) = (verdict(was, permission), verdict(is, permission));
        Difference { user, permission, before, after }
    });
    each.filter(|difference| difference.before != difference.after).collect()
}

/// The rows that decide, in memory. Of users only what decides: no hash and no address leaves the file.
fn copied(tx: &Connection) -> Result<Connection, Fault> {
    let copy = Connection::open_in_memory()?;
    copy.execute_batch("PRAGMA foreign_keys = OFF")?;
    copy.execute_batch(USERS_TABLE)?;
    let mut statement = tx.prepare(TABLES)?;
    let tables = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for table in tables {
        let (name, sql): (String, String) = table?;
        // Each table with its rows, in the order of their names: what a row refers to may come after it.
        copy.execute_batch(&sql)?;
        copy_rows(tx, &copy, &format!("SELECT * FROM {name}"), &name)?;
    }
    copy_rows(tx, &copy, USERS, "identity_users")?;
    Ok(copy)
}

fn copy_rows(from: &Connection, to: &Connection, select: &str, table: &str) -> Result<(), Fault> {
    let mut statement = from.prepare(select)?;
    let columns = statement.column_count();
    let places = vec!["?"; columns].join(", ");
    let mut insert = to.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    Ok(())
}

const TABLES: &str =
    "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name LIKE 'access\\_%' ESCAPE '\\'
    ORDER BY name";
const USERS_TABLE: &str =
    "CREATE TABLE identity_users (id TEXT PRIMARY KEY, role TEXT, state TEXT, email TEXT) STRICT;
    CREATE TABLE sessions_open (id TEXT PRIMARY KEY, user_id TEXT, auth_ms INTEGER, amr TEXT) STRICT";
const USERS: &str = "SELECT id, role, state, NULL FROM identity_users ORDER BY id";
