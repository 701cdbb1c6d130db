//! Changing the plan: decided where use is known, then told to the registry.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        organizations::queries,
        quotas::{self, Plan},
    },
    kernel::{Actor, OrgId, Permission, Refusal},
    store::Stop,
};

/// Changes an organization's plan, now.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangePlan {
    /// The new plan.
    pub plan: Plan,
    /// Whether present use may exceed it: nothing is deleted, and growth is frozen until use is below.
    pub accept_overage: bool,
}

impl Command for ChangePlan {
    const KIND: Kind = Kind::new("organizations.change_plan", 1);
    const NEEDS: Permission = Permission::OrganizationPlan;
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let Some(before) = queries::profile(cx.tx)? else { return Err(Refusal::NotFound.into()) };

        let details = before.details.clone().moved(before.plan, self.plan);
        let status =
            if before.status == "trial" && self.plan == Plan::Free { "active" } else { &before.status };

        let version = queries::update_plan(cx.tx, self.plan, status, &details, cx.at)?;
        let overages = quotas::overages(cx.tx, self.plan, cx.at)?;
        if !overages.is_empty() && !self.accept_overage {
            return Err(Refusal::UsageExceedsPlan { overages }.into());
        }
        let project = Project {
            id: before.id,
            version,
            name: details.name,
            plan: self.plan,
            status: status.to_owned(),
        };
        cx.send(OrgId::SYSTEM, None, Actor::System, &project)?;

        let over: Vec<&str> = overages.iter().map(|over| over.resource.as_str()).collect();
        cx.note("organization", before.id, json!({ "plan": [before.plan, self.plan], "overages": over }));
        Ok(version)
    }
}

/// Tells the registry what an organization's own file decided.
#[derive(Debug, Serialize, Deserialize)]
pub struct Project {
    /// The organization.
    pub id: OrgId,
    /// Version of the row that decided; an older one changes nothing.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// Its subscription's state.
    pub status: String,
}

impl Command for Project {
    const KIND: Kind = Kind::new("organizations.project", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        queries::update_registered(cx.tx, &self)?;
        cx.note(
            "organization",
            self.id,
            json!({ "plan": self.plan, "status": self.status, "version": self.version }),
        );
        Ok(())
    }
}
