//! Provisioning: the first command of an organization's file.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        access,
        identity::{self, NewUser},
        organizations::{model::NewOrganization, queries},
    },
    kernel::{OrgId, Permission, Refusal},
    store::Stop,
};

/// Fills a new organization's file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Provision {
    /// The organization.
    pub organization: NewOrganization,
    /// The organizations above it, nearest first, whose administrators oversee it.
    pub ancestors: Vec<OrgId>,
    /// Its first administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<NewUser>,
}

impl Command for Provision {
    const KIND: Kind = Kind::new("organizations.provision", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = OrgId;

    fn apply(self, cx: &mut Apply<'_>) -> Result<OrgId, Stop> {
        if let Some(profile) = queries::profile(cx.tx)? {
            return Err(Refusal::WrongState { state: profile.status }.into());
        }

        queries::insert_profile(cx.tx, &self.organization, cx.at)?;
        for ancestor in &self.ancestors {
            access::oversee(cx, *ancestor)?;
        }
        cx.note("organization", self.organization.id, json!({ "plan": self.organization.plan }));
        if let Some(admin) = &self.admin {
            identity::add_user(cx, admin)?;
        }
        Ok(self.organization.id)
    }
}
