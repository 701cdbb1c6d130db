//! Registering: the registry decides uniqueness and the tree, and sends for the organization's file.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{super::model::DEPTH_MAX, Provision};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        identity::NewUser,
        login,
        organizations::{model::NewOrganization, queries},
    },
    kernel::{Actor, OrgId, OutboxId, Permission, Refusal},
    store::{Stop, WrappedKey},
};

/// Registers an organization. In the system file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Register {
    /// The organization.
    pub organization: NewOrganization,
    /// Its first administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<NewUser>,
    /// The wrapped key of its file.
    pub key: WrappedKey,
}

/// An organization that is registered, and the effects to wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: OrgId,
    /// The effect that makes its file.
    pub provision: OutboxId,
    /// The effect that tells its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<OutboxId>,
}

impl Command for Register {
    const KIND: Kind = Kind::new("organizations.register", 1);
    const NEEDS: Permission = Permission::RegistryManage;
    type Reply = Created;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Created, Stop> {
        let new = self.organization;
        let above = new.parent.map(|parent| queries::ancestors(cx.tx, parent)).transpose()?;
        if queries::slug_is_taken(cx.tx, &new.slug.to_string())? {
            return Err(Refusal::SlugTaken.into());
        }
        if queries::domain_is_taken(cx.tx, &new.domain.to_string())? {
            return Err(Refusal::DomainTaken.into());
        }

        let ancestors = match above {
            None => Vec::new(),
            Some(None) => return Err(Refusal::NotFound.into()),
            Some(Some(ancestors)) => ancestors,
        };
        let depth = u32::try_from(ancestors.len()).unwrap_or(u32::MAX).saturating_add(1);
        if depth > DEPTH_MAX {
            let why = format!("is at the deepest place of the tree, {DEPTH_MAX}");
            return Err(Refusal::field("/parent_organization_id", why).into());
        }

        queries::insert_registered(cx.tx, &new, depth, cx.at)?;
        // Whoever operates the installation vouches for the domain; an administrator above does not.
        if matches!(cx.actor, Actor::Platform { .. }) {
            login::attest(cx, new.id, &new.domain.to_string(), login::Method::Operator)?;
        }
        let change = json!({ "slug": new.slug, "plan": new.plan, "parent": new.parent });
        cx.note("organization", new.id, change);
        let tell = |parent| cx.send(parent, None, Actor::System, &Adopt { id: new.id });
        let adopt = new.parent.map(tell).transpose()?;
        let id = new.id;
        let command = Provision { organization: new, ancestors, admin: self.admin };
        let provision = cx.send(id, Some(self.key), Actor::System, &command)?;
        Ok(Created { id, provision, adopt })
    }
}

/// An administrator asks for an organization below its own. In the parent's file, which knows its role.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestChild {
    /// What the registry is to decide.
    pub register: Register,
}

impl Command for RequestChild {
    const KIND: Kind = Kind::new("organizations.request_child", 1);
    const NEEDS: Permission = Permission::OrganizationChild;
    type Reply = OutboxId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<OutboxId, Stop> {
        if self.register.organization.parent != Some(cx.organization) {
            return Err(Refusal::NotFound.into());
        }
        let child = self.register.organization.id;
        cx.note("organization", child, json!({ "requested": self.register.organization.slug }));
        cx.send(OrgId::SYSTEM, None, Actor::System, &self.register)
    }
}

/// Tells a parent of its child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Adopt {
    /// The child.
    pub id: OrgId,
}

impl Command for Adopt {
    const KIND: Kind = Kind::new("organizations.adopt", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        queries::insert_child(cx.tx, self.id, cx.at)?;
        cx.note("organization", self.id, json!({ "parent": cx.organization }));
        Ok(())
    }
}
