//! The decision inside commands, and projected grants to those above.

use crate::{
    cluster::{Apply, Asks},
    features::access::{
        model::Circumstances,
        queries::{compiled, is_plainly_allowed},
    },
    kernel::{Attributes, Millis, OrgId, Origin, Permission},
    store::Stop,
};

/// Allows the actor of `cx`, or refuses. Called by the dispatcher for every command.
///
/// A command that [`Asks::Again`] is stopped here only if nothing that is still to be looked at could allow it.
pub fn require(cx: &Apply<'_>, permission: Permission, asks: Asks) -> Result<(), Stop> {
    if is_plainly_allowed(cx.tx, cx.organization, cx.actor, permission)? {
        return Ok(());
    }
    let compiled = compiled(cx.tx, cx.organization, cx.actor)?;
    match asks {
        Asks::Once => compiled.require(permission, &Attributes::UNKNOWN, &circumstances(cx))?,
        Asks::Again => compiled.require_some(permission, &circumstances(cx))?,
    }
    Ok(())
}

/// Allows the actor of `cx` to do something to one thing, or refuses. For commands that [`Asks::Again`].
pub fn require_for(cx: &Apply<'_>, permission: Permission, thing: &Attributes) -> Result<(), Stop> {
    if is_plainly_allowed(cx.tx, cx.organization, cx.actor, permission)? {
        return Ok(());
    }
    compiled(cx.tx, cx.organization, cx.actor)?.require(permission, thing, &circumstances(cx))?;
    Ok(())
}

fn circumstances(cx: &Apply<'_>) -> Circumstances {
    circumstances_of(cx.origin, cx.at)
}

/// What is known of a request by where it came from and when.
pub fn circumstances_of(origin: &Origin, at: Millis) -> Circumstances {
    let ip = origin.ip_address.as_deref().and_then(|address| address.parse().ok());
    Circumstances { at, ip, ..Circumstances::default() }
}

/// Lets the administrators of `ancestor` oversee this organization.
pub fn oversee(cx: &mut Apply<'_>, ancestor: OrgId) -> Result<(), Stop> {
    cx.tx.prepare_cached(INSERT)?.execute((ancestor.to_string(), cx.at.0))?;
    cx.touch_access();
    Ok(())
}

const INSERT: &str = "INSERT INTO access_overseers (organization, created_ms) VALUES (?1, ?2)
    ON CONFLICT (organization) DO NOTHING";
