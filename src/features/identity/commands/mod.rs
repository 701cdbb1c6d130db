//! Commands, by what they are about, and what they share.

mod erase;
mod life;
mod links;
mod passwords;
mod people;

pub use erase::{DeleteUser, EraseTraces, deletes, erases, forget_deleted};
pub use life::{Activate, Approve, Deactivate, DeactivateInactive};
pub use links::{Accept, Invite, IssueLink, Issued, Purpose, issue_link};
pub use passwords::{ChangePassword, Rehash, RequirePassword, ResetPassword};
pub use people::{Changes, CreateUser, NameBreakGlass, UpdateSelf, UpdateUser, add_user, stamp_login};

use super::{
    model::{State, User},
    queries,
};
use crate::{
    cluster::{Apply, Asks},
    features::{
        access,
        quotas::{self, Resource},
    },
    kernel::{Permission, Refusal, Role, UserId},
    store::Stop,
};

fn find(cx: &Apply<'_>, id: UserId) -> Result<User, Stop> {
    queries::by_id(cx.tx, id)?.ok_or_else(|| Refusal::NotFound.into())
}

/// The last active administrator of an organization, or of the installation, stays one.
fn require_another_admin(cx: &Apply<'_>, user: &User) -> Result<(), Stop> {
    let highest = if cx.organization.is_system() { Role::PlatformAdmin } else { Role::Admin };
    let is_one = user.role == highest && user.state == State::Active;
    if is_one && !queries::another_active(cx.tx, highest, user.id)? {
        return Err(Refusal::WrongState { state: "last_admin".to_owned() }.into());
    }
    Ok(())
}

fn require_version(user: &User, if_version: Option<i64>) -> Result<(), Stop> {
    if if_version.is_some_and(|version| version != user.version) {
        return Err(Refusal::VersionMismatch { current: user.version }.into());
    }
    Ok(())
}

/// Whether the actor may decide alone who comes in.
fn may_approve(cx: &Apply<'_>) -> Result<bool, Stop> {
    match access::require(cx, Permission::UserManage, Asks::Once) {
        Ok(()) => Ok(true),
        Err(Stop::Refused(_)) => Ok(false),
        Err(broken) => Err(broken),
    }
}

/// Brings a user to another state, with the seat that it takes or leaves, and looks nobody up from memory any more.
fn move_to(cx: &mut Apply<'_>, user: &User, state: State) -> Result<(), Stop> {
    if !cx.organization.is_system() {
        match (user.state.takes_active_seat(), state.takes_active_seat()) {
            (false, true) => drop(quotas::take(cx, Resource::MaxActiveUsers, 1)?),
            (true, false) => drop(quotas::give_back(cx, Resource::MaxActiveUsers, 1)?),
            _ => {}
        }
    }
    cx.tx.prepare_cached(MOVE)?.execute((user.id.to_string(), state.name(), cx.at.0))?;
    cx.touch_access();
    Ok(())
}

const MOVE: &str = "UPDATE identity_users SET state = ?2, updated_ms = ?3, version = version + 1,
    activated_ms = CASE ?2 WHEN 'active' THEN ?3 ELSE activated_ms END WHERE id = ?1";
