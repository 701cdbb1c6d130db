//! Changing what members may change.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Project;
use crate::{
    cluster::{Apply, Asks, Command, Kind},
    features::{
        access,
        organizations::queries,
        quotas::{Allowance, Resource},
    },
    kernel::{Actor, Attributes, LIMITED_SETTINGS, OrgId, Permission, Refusal},
    store::Stop,
};

/// What a change needs: settings alone are less than the rest, and some settings less than all.
pub(in crate::features::organizations) fn needs_of(patch: &Map<String, Value>) -> (Permission, Attributes) {
    let settings = patch.get("settings").and_then(Value::as_object).filter(|_| patch.len() == 1);
    let Some(settings) = settings else { return (Permission::OrganizationUpdate, Attributes::whole()) };
    let limited = settings.keys().all(|name| LIMITED_SETTINGS.contains(&name.as_str()));
    (Permission::SettingsUpdate, Attributes { limited: Some(limited), ..Attributes::whole() })
}

/// Fields that guard how members get in: whoever changes one proves who it is, as for the policy of second factors.
const GUARDS: [&str; 2] = ["allowed_ips", "require_mfa"];

/// Changes an organization's details.
#[derive(Debug, Serialize, Deserialize)]
pub struct Update {
    /// The row's version the caller has seen; absent: whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<i64>,
    /// The fields to change, already judged at the edge.
    pub patch: Map<String, Value>,
}

impl Command for Update {
    const KIND: Kind = Kind::new("organizations.update", 1);
    /// The least that any change needs; `needs_of` says what this one does.
    const NEEDS: Permission = Permission::SettingsUpdate;
    const ASKS: Asks = Asks::Again;
    type Reply = i64;

    fn steps_up(&self) -> bool {
        GUARDS.iter().any(|name| self.patch.contains_key(*name))
    }

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let (needs, thing) = needs_of(&self.patch);
        access::require_for(cx, needs, &thing)?;
        let Some(before) = queries::profile(cx.tx)? else { return Err(Refusal::NotFound.into()) };
        if self.if_version.is_some_and(|seen| seen != before.version) {
            return Err(Refusal::VersionMismatch { current: before.version }.into());
        }

        let after = before.details.merged(&self.patch)?;
        if after.retention_days > before.details.retention_days {
            let resource = Resource::MaxRetentionDays;
            let quota = before.plan.limit(resource);
            let now = Allowance { resource, counted: before.details.retention_days, reported: 0, quota };
            now.require(after.retention_days - before.details.retention_days)?;
        }

        let version = queries::update_details(cx.tx, &after, cx.at)?;
        if after.name != before.details.name {
            let (plan, status) = (before.plan, before.status);
            let project = Project { id: before.id, version, name: after.name.clone(), plan, status };
            cx.send(OrgId::SYSTEM, None, Actor::System, &project)?;
        }

        // Nodes remember with a caller where it may come from.
        cx.touch_access();
        // Names of fields, not their values: contact and billing name people.
        let fields: Vec<&String> = self.patch.keys().collect();
        cx.note("organization", before.id, json!({ "fields": fields, "version": [before.version, version] }));
        cx.note_personal(json!({ "changes": self.patch }));
        Ok(version)
    }
}
