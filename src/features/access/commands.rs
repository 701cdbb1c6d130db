//! The decision inside commands, and projected grants.

use super::queries::standing;
use crate::{
    cluster::Apply,
    kernel::{OrgId, Permission},
    store::Stop,
};

/// Allows the actor of `cx`, or refuses. Called by the dispatcher for every command.
pub fn require(cx: &Apply<'_>, permission: Permission) -> Result<(), Stop> {
    standing(cx.tx, cx.organization, cx.actor)?.require(permission)?;
    Ok(())
}

/// Lets the administrators of `ancestor` oversee this organization.
pub fn grant(cx: &mut Apply<'_>, ancestor: OrgId) -> Result<(), Stop> {
    cx.tx.prepare_cached(INSERT)?.execute((ancestor.to_string(), cx.at.0))?;
    Ok(())
}

const INSERT: &str = "INSERT INTO access_grants (organization, created_ms) VALUES (?1, ?2)
    ON CONFLICT (organization) DO NOTHING";
