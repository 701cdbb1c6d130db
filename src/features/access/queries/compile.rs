//! From rows to what one actor may do.

use std::{collections::BTreeMap, sync::LazyLock};

use rusqlite::{Connection, OptionalExtension};

use super::{policies::policies, rows};
use crate::{
    features::access::model::{Bound, Compiled, Given, Proven, RoleRef, Standing, Subject},
    kernel::{Actor, Fault, Millis, OrgId, Permission, PermissionSet, Role, RoleId, SessionId, UserId},
};

/// A member's row, and whether any custom rule stands in the file at all.
struct Member {
    role: Role,
    has_rules: bool,
}

/// Whether the actor is a member whose built-in role alone allows it, in a file without custom rules: the common case, one
/// query. `false` says nothing.
pub(in crate::features::access) fn is_plainly_allowed(
    tx: &Connection,
    organization: OrgId,
    actor: &Actor,
    permission: Permission,
) -> Result<bool, Fault> {
    static HELD: LazyLock<[PermissionSet; 5]> = LazyLock::new(|| {
        [Role::Analyst, Role::SeniorAnalyst, Role::TeamLead, Role::Admin, Role::PlatformAdmin]
            .map(|role| role.always_holds().within(Standing::Member(role).floor()))
    });
    let Some((user, session)) = member_of(organization, actor) else {
        return Ok(*actor == Actor::System);
    };
    let Some(member) = member(tx, organization, user, session)? else { return Ok(false) };
    let held = HELD.get(member.role as usize).is_some_and(|held| held.holds(permission));
    Ok(held && !member.has_rules)
}

/// What `actor` may do in the organization whose file `tx` is.
pub fn compiled(tx: &Connection, organization: OrgId, actor: &Actor) -> Result<Compiled, Fault> {
    let fixed = |standing| Ok(Compiled::fixed(standing));
    if let Some((user, session)) = member_of(organization, actor) {
        return of_member(tx, organization, user, session);
    }
    match actor {
        Actor::System => fixed(Standing::System),
        Actor::Platform { .. } => fixed(Standing::Operator),
        Actor::User { organization: home, role: Role::Admin, .. } => {
            fixed(overseer(tx, organization, *home)?)
        }
        Actor::Anonymous | Actor::User { .. } => fixed(Standing::Stranger),
    }
}

/// What a user of an organization may do; nothing, when there is none of that id.
pub(in crate::features::access) fn compiled_for(
    tx: &Connection,
    organization: OrgId,
    user: UserId,
) -> Result<Compiled, Fault> {
    of_member(tx, organization, user, None)
}

fn of_member(
    tx: &Connection,
    organization: OrgId,
    user: UserId,
    session: Option<SessionId>,
) -> Result<Compiled, Fault> {
    Ok(match member(tx, organization, user, session)? {
        None => Compiled::fixed(Standing::Stranger),
        Some(Member { role, .. }) if organization.is_system() => {
            Compiled::member(user, role, &Given::default())
        }
        Some(Member { role, has_rules: false }) => {
            let groups = rows::groups_of(tx, user)?;
            Compiled::member(user, role, &Given { groups, ..Given::default() })
        }
        Some(Member { role, has_rules: true }) => {
            let given = given(tx, user, role)?;
            let rights = Compiled::member(user, role, &given);
            rights.with_policies(bound(tx, user, role, &given)?).in_session(proven(tx, session)?)
        }
    })
}

/// The user of this file that the actor claims to be.
fn member_of(organization: OrgId, actor: &Actor) -> Option<(UserId, Option<SessionId>)> {
    match actor {
        Actor::Platform { user, session } if organization.is_system() => Some((*user, *session)),
        Actor::User { organization: home, user, session, .. } if *home == organization => {
            Some((*user, *session))
        }
        _ => None,
    }
}

/// A member in a session that has ended is nobody here any more.
fn member(
    tx: &Connection,
    organization: OrgId,
    user: UserId,
    session: Option<SessionId>,
) -> Result<Option<Member>, Fault> {
    // The system file has no custom rules.
    let sql = if organization.is_system() { ADMINISTRATOR } else { MEMBER };
    let key = (user.to_string(), session.map(|session| session.to_string()));
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let row: Option<(String, bool)> = tx.prepare_cached(sql)?.query_row(key, read).optional()?;
    Ok(row.and_then(|(role, has_rules)| Some(Member { role: role.parse().ok()?, has_rules })))
}

/// The built-in role of an active user of this file.
pub fn role_of(tx: &Connection, user: UserId) -> Result<Option<Role>, Fault> {
    let row =
        tx.prepare_cached(ADMINISTRATOR)?.query_row((user.to_string(), None::<String>), |row| row.get(0));
    let role: Option<String> = row.optional()?;
    Ok(role.and_then(|role| role.parse().ok()))
}

/// The organization's policies as they meet one user, with all its roles.
fn bound(tx: &Connection, user: UserId, role: Role, given: &Given) -> Result<Option<Bound>, Fault> {
    let Some(policies) = policies(tx)? else { return Ok(None) };
    let own = role.lineage().map(|role| (RoleRef::BuiltIn(role), None));
    let inherited = given.inherited.iter().map(|(role, until)| (RoleRef::BuiltIn(*role), *until));
    let custom = given.roles.iter().map(|(role, until)| (RoleRef::Custom(role.id), *until));
    let bound = Bound::new(policies, user, &given.groups, own.chain(inherited).chain(custom));
    let email =
        tx.prepare_cached(EMAIL)?.query_row([user.to_string()], |row| row.get(0)).optional()?.flatten();
    bound
        .map(|bound| Some(bound.with_email(email)))
        .ok_or_else(|| Fault::found("the schema of policies does not know its own types"))
}

/// How the user of a session last proved who it is.
fn proven(tx: &Connection, session: Option<SessionId>) -> Result<Option<Proven>, Fault> {
    let Some(session) = session else { return Ok(None) };
    let read = |row: &rusqlite::Row<'_>| Ok((Millis(row.get(0)?), row.get::<_, String>(1)?));
    let row = tx.prepare_cached(PROVEN)?.query_row([session.to_string()], read).optional()?;
    Ok(row.map(|(at, amr)| Proven { at, mfa: amr.split(' ').any(|word| word == "mfa") }))
}

fn overseer(tx: &Connection, organization: OrgId, home: OrgId) -> Result<Standing, Fault> {
    if organization.is_system() {
        return Ok(Standing::Stranger);
    }
    let granted: bool = tx.prepare_cached(OVERSEEN)?.query_row([home.to_string()], |row| row.get(0))?;
    Ok(if granted { Standing::Overseer } else { Standing::Stranger })
}

/// What stands in the file about a member.
fn given(tx: &Connection, user: UserId, role: Role) -> Result<Given, Fault> {
    let groups = rows::groups_of(tx, user)?;
    let mut subjects = vec![Subject::Everyone, Subject::User(user)];
    subjects.extend(groups.iter().map(|group| Subject::Group(*group)));
    let mut held: BTreeMap<RoleRef, Option<Millis>> = BTreeMap::new();
    let mut direct = Vec::new();
    for subject in &subjects {
        for holding in rows::holdings_of(tx, *subject)? {
            direct.push(holding.role);
            reach(tx, &mut held, RoleRef::Custom(holding.role), holding.expires)?;
        }
    }
    let mut given = Given { groups, direct, ..Given::default() };
    for (role, until) in &held {
        match role {
            RoleRef::BuiltIn(role) => given.inherited.push((*role, *until)),
            RoleRef::Custom(id) => {
                given.roles.extend(rows::role(tx, *id)?.map(|stored| (stored.value, *until)));
            }
        }
    }
    for subject in subjects {
        given.grants.extend(rows::grants_of(tx, subject)?);
    }
    let own = role.lineage().map(|role| (RoleRef::BuiltIn(role), None));
    for (held_role, until) in own.chain(held) {
        let is_direct = match held_role {
            RoleRef::BuiltIn(one) => one == role,
            RoleRef::Custom(id) => given.direct.contains(&id),
        };
        add_grants_of_role(tx, &mut given, held_role, until, is_direct)?;
    }
    Ok(given)
}

/// What is allowed to a role is allowed to those that inherit it; what is denied to it is denied to its holders alone.
fn add_grants_of_role(
    tx: &Connection,
    given: &mut Given,
    role: RoleRef,
    until: Option<Millis>,
    is_direct: bool,
) -> Result<(), Fault> {
    use crate::features::access::model::Effect;
    for grant in rows::grants_of(tx, Subject::Role(role))? {
        if given.grants.iter().any(|known| known.id == grant.id) {
            continue;
        }
        match grant.effect {
            // What was given through a role ends with the role.
            Effect::Allow => {
                let expires = sooner(grant.expires, until);
                given.grants.push(crate::features::access::model::Grant { expires, ..grant });
            }
            Effect::Deny if is_direct => given.grants.push(grant),
            Effect::Deny => {}
        }
    }
    Ok(())
}

fn sooner(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Adds a role and what it inherits, each with the latest moment up to which it is held.
pub(in crate::features::access) fn reach(
    tx: &Connection,
    held: &mut BTreeMap<RoleRef, Option<Millis>>,
    role: RoleRef,
    until: Option<Millis>,
) -> Result<(), Fault> {
    let mut waiting = vec![role];
    while let Some(role) = waiting.pop() {
        let lasts_as_long = |known: &Option<Millis>| match (known, until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(known), Some(until)) => *known >= until,
        };
        if held.get(&role).is_some_and(lasts_as_long) {
            continue;
        }
        held.insert(role, until);
        if let RoleRef::Custom(id) = role {
            waiting.extend(inherits(tx, id)?);
        }
    }
    Ok(())
}

fn inherits(tx: &Connection, id: RoleId) -> Result<Vec<RoleRef>, Fault> {
    Ok(rows::role(tx, id)?.map(|stored| stored.value.inherits).unwrap_or_default())
}

const ADMINISTRATOR: &str = "SELECT role, 0 FROM identity_users WHERE id = ?1 AND state = 'active'
    AND (?2 IS NULL OR EXISTS (SELECT 1 FROM sessions_open WHERE id = ?2 AND user_id = ?1))";
const MEMBER: &str = "SELECT role,
    EXISTS (SELECT 1 FROM access_grants) OR EXISTS (SELECT 1 FROM access_holdings)
        OR EXISTS (SELECT 1 FROM access_policies)
    FROM identity_users WHERE id = ?1 AND state = 'active'
    AND (?2 IS NULL OR EXISTS (SELECT 1 FROM sessions_open WHERE id = ?2 AND user_id = ?1))";
const EMAIL: &str = "SELECT email FROM identity_users WHERE id = ?1";
const PROVEN: &str = "SELECT auth_ms, amr FROM sessions_open WHERE id = ?1";
const OVERSEEN: &str = "SELECT EXISTS (SELECT 1 FROM access_overseers WHERE organization = ?1)";
