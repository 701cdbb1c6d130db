//! What members may change about their organization: contact, billing, settings, security.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::features::quotas::Plan;

/// What members may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Display name.
    pub name: String,
    /// Where bills go.
    pub billing_email: String,
    /// Who to talk to.
    pub contact_info: Value,
    /// Who pays, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_info: Option<Value>,
    /// How the platform behaves for this organization.
    pub settings: Settings,
    /// `standard`, `high_performance` or `archive`.
    pub storage_class: String,
    /// Days that data is kept, up to the plan's ceiling.
    pub retention_days: i64,
    /// Addresses and networks that may log in; all when empty.
    pub allowed_ips: Vec<String>,
    /// Whether members must have a second factor.
    pub require_mfa: bool,
    /// Whether members must log in through their identity provider.
    pub sso_required: bool,
}

/// How the platform behaves for an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // independent switches, each with the name users know
pub struct Settings {
    timezone: String,
    date_format: String,
    allow_guest_access: bool,
    allow_api_access: bool,
    require_approval_for_new_users: bool,
    auto_deactivate_inactive_users: bool,
    inactivity_threshold_days: i64,
    default_user_role: String,
    allowed_email_domains: Vec<String>,
    blocked_email_domains: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timezone: "UTC".to_owned(),
            date_format: "YYYY-MM-DD".to_owned(),
            allow_guest_access: false,
            allow_api_access: true,
            require_approval_for_new_users: true,
            auto_deactivate_inactive_users: false,
            inactivity_threshold_days: 90,
            default_user_role: "analyst".to_owned(),
            allowed_email_domains: Vec::new(),
            blocked_email_domains: Vec::new(),
        }
    }
}

impl Details {
    /// The details of a new organization: the plan's defaults.
    pub fn new(plan: Plan, name: String, billing_email: String, contact_info: Value) -> Self {
        Self {
            name,
            billing_email,
            contact_info,
            billing_info: None,
            settings: Settings::default(),
            storage_class: plan.storage_class().to_owned(),
            retention_days: plan.retention_days(),
            allowed_ips: Vec::new(),
            require_mfa: plan == Plan::Enterprise,
            sso_required: false,
        }
    }

    /// The same details under another plan: what stood at the old plan's default moves to the new one's.
    #[must_use]
    pub fn moved(mut self, from: Plan, to: Plan) -> Self {
        if self.retention_days == from.retention_days() {
            self.retention_days = to.retention_days();
        }
        if self.storage_class == from.storage_class() {
            to.storage_class().clone_into(&mut self.storage_class);
        }
        self
    }

    /// These details with a patch merged in (RFC 7396, one level into `settings`).
    pub fn merged(&self, patch: &Map<String, Value>) -> serde_json::Result<Self> {
        let mut whole = serde_json::to_value(self)?;
        merge(&mut whole, patch);
        serde_json::from_value(whole)
    }
}

fn merge(whole: &mut Value, patch: &Map<String, Value>) {
    let Some(object) = whole.as_object_mut() else { return };
    for (name, value) in patch {
        match (object.get_mut(name), value) {
            (Some(inner), Value::Object(inner_patch)) if name == "settings" => merge(inner, inner_patch),
            _ => drop(object.insert(name.clone(), value.clone())),
        }
    }
}
