//! An organization as the API shows it.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::{model::Profile, queries};
use crate::{
    features::quotas::{self, Allowance, Plan, model::Feature},
    kernel::{Fault, Millis},
};

/// An organization's row and everything its representation shows beside it.
pub(super) struct Whole {
    pub(super) profile: Profile,
    pub(super) allowances: Vec<Allowance>,
    pub(super) children: Vec<String>,
}

/// Reads an organization from its own file.
pub(super) fn read(tx: &Connection, now: Millis) -> Result<Option<Whole>, Fault> {
    let Some(profile) = queries::profile(tx)? else { return Ok(None) };
    Ok(Some(Whole { profile, allowances: quotas::allowances(tx, now)?, children: queries::children(tx)? }))
}

/// The organization, in v2's names.
pub(super) fn organization(whole: &Whole) -> Value {
    let (profile, details) = (&whole.profile, &whole.profile.details);
    json!({
        "id": profile.id,
        "name": details.name,
        "slug": profile.slug,
        "domain": profile.domain,
        "plan": profile.plan,
        "billing_email": details.billing_email,
        "subscription_status": profile.status,
        "trial_ends_at": profile.trial_ends.map(|at| at.to_string()),
        "quotas": quotas::http::quotas_view(&whole.allowances),
        "usage": quotas::http::usage_view(&whole.allowances),
        "settings": details.settings,
        "features": features(profile.plan),
        "data_region": profile.region,
        "storage_class": details.storage_class,
        "retention_days": details.retention_days,
        "allowed_ips": details.allowed_ips,
        "require_mfa": details.require_mfa,
        "sso_required": details.sso_required,
        "sso_providers": [],
        "contact_info": details.contact_info,
        "billing_info": details.billing_info,
        "parent_organization_id": profile.parent,
        "child_organizations": whole.children,
        "created_at": profile.created.to_string(),
        "updated_at": profile.updated.to_string(),
    })
}

fn features(plan: Plan) -> Value {
    let flags = Feature::ALL.iter().map(|feature| (feature.name.to_owned(), json!(plan.includes(*feature))));
    Value::Object(flags.collect::<Map<_, _>>())
}
