//! From pending to active, to deactivated and back.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{find, move_to, require_another_admin};
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::{
        access,
        identity::{model::State, queries},
        sessions,
    },
    kernel::{DAY_MS, Permission, Refusal, UserId},
    store::Stop,
};

/// Users deactivated in one entry.
const INACTIVE_MAX: u32 = 100;

/// Lets somebody in who accepted an invitation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Approve {
    /// Who.
    pub id: UserId,
}

impl Command for Approve {
    const KIND: Kind = Kind::new("identity.approve", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        enter(cx, self.id, State::Pending)
    }
}

/// Lets somebody in again who was deactivated.
#[derive(Debug, Serialize, Deserialize)]
pub struct Activate {
    /// Who.
    pub id: UserId,
}

impl Command for Activate {
    const KIND: Kind = Kind::new("identity.activate", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        enter(cx, self.id, State::Deactivated)
    }
}

fn enter(cx: &mut Apply<'_>, id: UserId, from: State) -> Result<(), Stop> {
    let user = find(cx, id)?;
    access::require_may_give_role(cx, user.role)?;
    if user.state != from {
        return Err(Refusal::WrongState { state: user.state.name().to_owned() }.into());
    }

    move_to(cx, &user, State::Active)?;

    cx.note("user", id, json!({ "state": [from, State::Active] }));
    Ok(())
}

/// Keeps somebody out, with everything in its place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deactivate {
    /// Who.
    pub id: UserId,
}

impl Command for Deactivate {
    const KIND: Kind = Kind::new("identity.deactivate", 1);
    const NEEDS: Permission = Permission::UserManage;
    const STEP_UP: bool = true;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = find(cx, self.id)?;
        access::require_may_give_role(cx, user.role)?;
        if user.state != State::Active {
            return Err(Refusal::WrongState { state: user.state.name().to_owned() }.into());
        }
        require_another_admin(cx, &user)?;

        move_to(cx, &user, State::Deactivated)?;

        cx.note("user", self.id, json!({ "state": [user.state, State::Deactivated] }));
        sessions::end_all(cx, self.id, None, "deactivated")?;
        Ok(())
    }
}

/// Deactivates who has not logged in for as long as the organization says. Nothing when it says nothing. Those who get
/// in when nothing else does, and the last administrator, stay.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeactivateInactive {}

impl Command for DeactivateInactive {
    const KIND: Kind = Kind::new("identity.deactivate_inactive", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let house = queries::house(cx.tx)?;
        if !house.auto_deactivate_inactive_users {
            return Ok(0);
        }
        let before = cx.at.plus(house.inactivity_threshold_days.saturating_mul(-DAY_MS));
        let mut deactivated = 0;
        for id in queries::inactive_since(cx.tx, before, INACTIVE_MAX)? {
            let user = find(cx, id)?;
            if require_another_admin(cx, &user).is_err() {
                continue;
            }
            move_to(cx, &user, State::Deactivated)?;
            cx.note("user", id, json!({ "state": [user.state, State::Deactivated], "why": "inactive" }));
            sessions::end_all(cx, id, None, "deactivated")?;
            deactivated += 1;
        }
        Ok(deactivated)
    }
}
