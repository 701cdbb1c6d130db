//! The registry and the profile: every statement of the slice.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde_json::{Value, json};

use super::{
    commands::Project,
    model::{Details, NewOrganization, Profile, Registered, TRIAL_DAYS},
};
use crate::{
    features::quotas::Plan,
    kernel::{DAY_MS, Fault, Millis, OrgId, Page, Window},
    store::Stop,
};

/// What a list of the registry is narrowed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) plan: Option<String>,
    pub(super) status: Option<String>,
    pub(super) parent: Option<String>,
    /// Start of the name or the slug.
    pub(super) text: Option<String>,
    /// Only this organization and those below it.
    pub(super) within: Option<OrgId>,
}

pub(super) fn slug_is_taken(tx: &Connection, slug: &str) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(SLUG)?.query_row([slug], |row| row.get(0))?)
}

pub(super) fn domain_is_taken(tx: &Connection, domain: &str) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(DOMAIN)?.query_row([domain], |row| row.get(0))?)
}

/// `id` and the organizations above it, nearest first; `None` when `id` is not registered.
pub(super) fn ancestors(tx: &Connection, id: OrgId) -> Result<Option<Vec<OrgId>>, Fault> {
    let mut found = Vec::new();
    let mut next = Some(id);
    while let Some(id) = next {
        let Some(row) = registered(tx, id)? else {
            return if found.is_empty() {
                Ok(None)
            } else {
                Err(Fault::found(format!("{id} has no registry row")))
            };
        };
        found.push(row.id);
        next = row.parent;
    }
    Ok(Some(found))
}

fn registered(tx: &Connection, id: OrgId) -> Result<Option<Registered>, Fault> {
    let row = tx
        .prepare_cached(REGISTERED)?
        .query_row([id.to_string()], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    row.map(|(depth, parent)| Ok(Registered { id, depth, parent: parse_id(parent)? })).transpose()
}

pub(super) fn insert_registered(
    tx: &Connection,
    new: &NewOrganization,
    depth: u32,
    at: Millis,
) -> Result<(), Stop> {
    tx.prepare_cached(INSERT_REGISTERED)?.execute(params![
        new.id.to_string(),
        new.slug.to_string(),
        new.domain.to_string(),
        new.details.name,
        new.plan.name(),
        new.plan.first_status(),
        new.region,
        new.parent.map(|parent| parent.to_string()),
        depth,
        at.0,
    ])?;
    Ok(())
}

/// Takes over what the organization's own file decided, unless something newer is known.
pub(super) fn update_registered(tx: &Connection, told: &Project) -> Result<(), Stop> {
    let row = (told.id.to_string(), &told.name, told.plan.name(), &told.status, told.version);
    tx.prepare_cached(UPDATE_REGISTERED)?.execute(row)?;
    Ok(())
}

/// Rows of the registry as a list shows them, by id (which is by age).
pub(super) fn list(tx: &Connection, filter: &Filter, window: &Window) -> Result<Page<Value>, Fault> {
    let mut statement = tx.prepare_cached(LIST)?;
    let rows = statement.query_map(
        named_params! {
            ":after": window.after.as_deref().unwrap_or(""),
            ":plan": filter.plan,
            ":status": filter.status,
            ":parent": filter.parent,
            ":text": filter.text.as_deref().map(str::to_lowercase),
            ":within": filter.within.map(|id| id.to_string()),
            ":limit": window.probe(),
        },
        |row| Ok((row.get::<_, String>(0)?, listed(row)?)),
    )?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, window, |(id, _)| id.clone()).map(|(_, view)| view))
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Value> {
    Ok(json!({
        "id": row.get::<_, String>(0)?,
        "slug": row.get::<_, String>(1)?,
        "domain": row.get::<_, String>(2)?,
        "name": row.get::<_, String>(3)?,
        "plan": row.get::<_, String>(4)?,
        "subscription_status": row.get::<_, String>(5)?,
        "data_region": row.get::<_, String>(6)?,
        "parent_organization_id": row.get::<_, Option<String>>(7)?,
        "created_at": Millis(row.get(8)?).to_string(),
    }))
}

/// The organization's own row.
pub(super) fn profile(tx: &Connection) -> Result<Option<Profile>, Fault> {
    let row = tx
        .prepare_cached(PROFILE)?
        .query_row([], |row| {
            let texts: [String; 6] =
                [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(6)?];
            let moments: [Option<i64>; 3] = [row.get(8)?, row.get(9)?, row.get(10)?];
            Ok((
                texts,
                row.get::<_, Option<String>>(5)?,
                row.get::<_, String>(7)?,
                moments,
                row.get::<_, i64>(11)?,
            ))
        })
        .optional()?;
    let Some(([id, slug, domain, plan, status, region], parent, details, [trial, created, updated], version)) =
        row
    else {
        return Ok(None);
    };
    let unreadable = |what: &str| Fault::found(format!("the profile of {id} has an unreadable {what}"));
    Ok(Some(Profile {
        id: id.parse().map_err(|_| unreadable("id"))?,
        slug,
        domain,
        plan: plan.parse().map_err(|()| unreadable("plan"))?,
        status,
        parent: parse_id(parent)?,
        region,
        details: serde_json::from_str(&details).map_err(|_| unreadable("details"))?,
        trial_ends: trial.map(Millis),
        created: Millis(created.unwrap_or_default()),
        updated: Millis(updated.unwrap_or_default()),
        version,
    }))
}

pub(super) fn insert_profile(tx: &Connection, new: &NewOrganization, at: Millis) -> Result<(), Stop> {
    let on_trial = new.plan != Plan::Free;
    tx.prepare_cached(INSERT_PROFILE)?.execute(params![
        new.id.to_string(),
        new.slug.to_string(),
        new.domain.to_string(),
        new.plan.name(),
        new.plan.first_status(),
        new.parent.map(|parent| parent.to_string()),
        new.region,
        serde_json::to_string(&new.details)?,
        on_trial.then(|| at.plus(TRIAL_DAYS * DAY_MS).0),
        at.0,
    ])?;
    Ok(())
}

pub(super) fn update_details(tx: &Connection, details: &Details, at: Millis) -> Result<i64, Stop> {
    let details = serde_json::to_string(details)?;
    Ok(tx.prepare_cached(UPDATE_DETAILS)?.query_row((details, at.0), |row| row.get(0))?)
}

pub(super) fn update_plan(
    tx: &Connection,
    plan: Plan,
    status: &str,
    details: &Details,
    at: Millis,
) -> Result<i64, Stop> {
    let row = (plan.name(), status, serde_json::to_string(details)?, at.0);
    Ok(tx.prepare_cached(UPDATE_PLAN)?.query_row(row, |row| row.get(0))?)
}

pub(super) fn insert_child(tx: &Connection, child: OrgId, at: Millis) -> Result<(), Stop> {
    tx.prepare_cached(INSERT_CHILD)?.execute((child.to_string(), at.0))?;
    Ok(())
}

pub(super) fn delete_child(tx: &Connection, child: OrgId) -> Result<(), Stop> {
    tx.prepare_cached(DELETE_CHILD)?.execute([child.to_string()])?;
    Ok(())
}

pub(super) fn has_registered_children(tx: &Connection, id: OrgId) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(HAS_CHILDREN)?.query_row([id.to_string()], |row| row.get(0))?)
}

/// Forgets all but the id.
pub(super) fn erase_registered(tx: &Connection, id: OrgId, at: Millis) -> Result<(), Stop> {
    tx.prepare_cached(DELETE_REGISTERED)?.execute([id.to_string()])?;
    tx.prepare_cached(INSERT_ERASED)?.execute((id.to_string(), at.0))?;
    Ok(())
}

/// When an organization was erased last.
pub fn last_erased(tx: &Connection) -> Result<Option<Millis>, Fault> {
    let at: Option<i64> = tx.prepare_cached(LAST_ERASED)?.query_row([], |row| row.get(0))?;
    Ok(at.map(Millis))
}

/// The organizations that were erased.
pub fn erased(tx: &Connection) -> Result<BTreeSet<OrgId>, Fault> {
    let mut statement = tx.prepare_cached(ERASED)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(Some(id?))?.ok_or_else(|| Fault::found("an erased organization has no id")))
        .collect()
}

/// The slug under which `id` is registered.
pub(super) fn slug(tx: &Connection, id: OrgId) -> Result<Option<String>, Fault> {
    Ok(tx.prepare_cached(SLUG_OF)?.query_row([id.to_string()], |row| row.get(0)).optional()?)
}

/// The organizations right below this one, oldest first.
pub(super) fn children(tx: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = tx.prepare_cached(CHILDREN)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn parse_id(text: Option<String>) -> Result<Option<OrgId>, Fault> {
    let read = |id: String| {
        id.parse().map_err(|error| Fault::new(format!("read the organization id {id:?}"), error))
    };
    text.map(read).transpose()
}

const SLUG: &str = "SELECT EXISTS (SELECT 1 FROM organizations_registry WHERE slug = ?1)";
const DOMAIN: &str = "SELECT EXISTS (SELECT 1 FROM organizations_registry WHERE domain = ?1)";
const REGISTERED: &str = "SELECT depth, parent FROM organizations_registry WHERE id = ?1";
const INSERT_REGISTERED: &str = "INSERT INTO organizations_registry
    (id, slug, domain, name, plan, status, region, parent, depth, created_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const UPDATE_REGISTERED: &str = "UPDATE organizations_registry
    SET name = ?2, plan = ?3, status = ?4, version = ?5 WHERE id = ?1 AND version < ?5";
const LIST: &str = "WITH RECURSIVE below (id) AS (
        SELECT id FROM organizations_registry WHERE id = :within
        UNION ALL
        SELECT r.id FROM organizations_registry r JOIN below b ON r.parent = b.id
    )
    SELECT id, slug, domain, name, plan, status, region, parent, created_ms
    FROM organizations_registry
    WHERE id > :after
      AND (:plan IS NULL OR plan = :plan)
      AND (:status IS NULL OR status = :status)
      AND (:parent IS NULL OR parent = :parent)
      AND (:text IS NULL OR instr(lower(name), :text) = 1 OR instr(slug, :text) = 1)
      AND (:within IS NULL OR id IN (SELECT id FROM below))
    ORDER BY id LIMIT :limit";
const PROFILE: &str = "SELECT id, slug, domain, plan, status, parent, region, details, trial_ends_ms,
    created_ms, updated_ms, version FROM organizations_profile WHERE one = 1";
const INSERT_PROFILE: &str = "INSERT INTO organizations_profile
    (one, id, slug, domain, plan, status, parent, region, details, trial_ends_ms, created_ms, updated_ms, version)
    VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, 1)";
const UPDATE_DETAILS: &str = "UPDATE organizations_profile
    SET details = ?1, updated_ms = ?2, version = version + 1 WHERE one = 1 RETURNING version";
const UPDATE_PLAN: &str = "UPDATE organizations_profile
    SET plan = ?1, status = ?2, details = ?3, updated_ms = ?4, version = version + 1 WHERE one = 1 RETURNING version";
const INSERT_CHILD: &str = "INSERT INTO organizations_children (id, created_ms) VALUES (?1, ?2)
    ON CONFLICT (id) DO NOTHING";
const DELETE_CHILD: &str = "DELETE FROM organizations_children WHERE id = ?1";
const HAS_CHILDREN: &str = "SELECT EXISTS (SELECT 1 FROM organizations_registry WHERE parent = ?1)";
const DELETE_REGISTERED: &str = "DELETE FROM organizations_registry WHERE id = ?1";
const INSERT_ERASED: &str = "INSERT INTO organizations_erased (id, at_ms) VALUES (?1, ?2)";
const ERASED: &str = "SELECT id FROM organizations_erased";
const LAST_ERASED: &str = "SELECT max(at_ms) FROM organizations_erased";
const SLUG_OF: &str = "SELECT slug FROM organizations_registry WHERE id = ?1";
const CHILDREN: &str = "SELECT id FROM organizations_children ORDER BY id";
