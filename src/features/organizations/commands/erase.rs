//! Erasing: the registry forgets an organization, and its file goes with its key.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{login, organizations::queries},
    kernel::{Actor, OrgId, OutboxId, Permission, Refusal},
    store::Stop,
};

/// Erases an organization that has none below it. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Erase {
    /// The organization.
    pub id: OrgId,
}

/// An organization that is forgotten, and the effects to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Erased {
    /// The effect that destroys its file.
    pub destroy: OutboxId,
    /// The effect that tells its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan: Option<OutboxId>,
}

impl Command for Erase {
    const KIND: Kind = Kind::new("organizations.erase", 1);
    const NEEDS: Permission = Permission::RegistryManage;
    const STEP_UP: bool = true;
    type Reply = Erased;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Erased, Stop> {
        let above = queries::ancestors(cx.tx, self.id)?.ok_or(Refusal::NotFound)?;

        if queries::has_registered_children(cx.tx, self.id)? {
            return Err(Refusal::WrongState { state: "has_children".to_owned() }.into());
        }

        queries::erase_registered(cx.tx, self.id, cx.at)?;
        login::forget_domains(cx, self.id)?;

        cx.note("organization", self.id, json!({ "erased": true }));
        let parent = above.get(1).copied();
        let tell = |parent| cx.send_to_living(parent, Actor::System, &Orphan { id: self.id });
        let orphan = parent.map(tell).transpose()?;
        let destroy = cx.send_to_living(self.id, Actor::System, &Destroy {})?;
        Ok(Erased { destroy, orphan })
    }
}

/// Destroys the organization's file and its key, on every node. The last command of a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Destroy {}

impl Command for Destroy {
    const KIND: Kind = Kind::new("organizations.destroy", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        if cx.organization.is_system() {
            return Err(Refusal::NotFound.into());
        }
        cx.destroy();
        Ok(())
    }
}

/// Tells a parent that a child is gone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orphan {
    /// The child.
    pub id: OrgId,
}

impl Command for Orphan {
    const KIND: Kind = Kind::new("organizations.orphan", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        queries::delete_child(cx.tx, self.id)?;
        cx.note("organization", self.id, json!({ "erased": true }));
        Ok(())
    }
}
