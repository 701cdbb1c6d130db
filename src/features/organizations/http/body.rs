//! Reading what a client says about an organization.

use serde_json::{Map, Value};

use crate::{
    features::{organizations::model::Details, quotas::Plan},
    kernel::Role,
    web::{
        Fields,
        value::{self, Describes, Reads, Rule},
    },
};

/// Reads name, billing e-mail and contact of a new organization.
pub(super) fn read_details(fields: &mut Fields, plan: Plan) -> Option<Details> {
    let name = fields.required("name", value::text(200));
    let billing_email = fields.required("billing_email", value::email());
    let contact = fields.nested("contact_info", |inner| Some(read_contact(inner)));
    let contact = Value::Object(contact.unwrap_or_default());
    Some(Details::new(plan, name?, billing_email?, contact))
}

/// Reads the fields of a change; only those that are there.
pub(super) fn patch_details(fields: &mut Fields) -> Map<String, Value> {
    let mut patch = Map::new();
    put(&mut patch, fields, "name", value::text(200));
    put(&mut patch, fields, "billing_email", value::email());
    put(
        &mut patch,
        fields,
        "storage_class",
        value::word::<String>(&["standard", "high_performance", "archive"]),
    );
    put(&mut patch, fields, "retention_days", value::integer(1, 36_500));
    put(&mut patch, fields, "allowed_ips", value::list(1000, value::network()));
    put(&mut patch, fields, "require_mfa", value::flag());
    put(&mut patch, fields, "sso_required", value::flag());
    for (name, read) in [
        ("contact_info", read_contact as fn(&mut Fields) -> Map<String, Value>),
        ("billing_info", read_billing),
        ("settings", read_settings),
    ] {
        if let Some(inner) = fields.nested(name, |inner| Some(read(inner))) {
            patch.insert(name.to_owned(), Value::Object(inner));
        }
    }
    patch
}

fn read_contact(fields: &mut Fields) -> Map<String, Value> {
    let mut contact = Map::new();
    put(&mut contact, fields, "primary_contact", value::text(200));
    put(&mut contact, fields, "email", value::email());
    put(&mut contact, fields, "phone", value::text(50));
    let address = fields.nested("address", |inner| {
        let mut address = Map::new();
        for name in ["street", "city", "state", "country", "postal_code"] {
            put(&mut address, inner, name, value::text(200));
        }
        Some(address)
    });
    if let Some(address) = address {
        contact.insert("address".to_owned(), Value::Object(address));
    }
    contact
}

fn read_billing(fields: &mut Fields) -> Map<String, Value> {
    let mut billing = Map::new();
    put(&mut billing, fields, "billing_contact", value::text(200));
    put(&mut billing, fields, "billing_email", value::email());
    put(&mut billing, fields, "payment_method", value::text(100));
    put(&mut billing, fields, "tax_id", value::text(100));
    put(&mut billing, fields, "currency", value::text(3));
    billing
}

fn read_settings(fields: &mut Fields) -> Map<String, Value> {
    let mut settings = Map::new();
    put(&mut settings, fields, "timezone", value::text(64));
    put(&mut settings, fields, "date_format", value::text(32));
    put(&mut settings, fields, "inactivity_threshold_days", value::integer(1, 3650));
    put(&mut settings, fields, "default_user_role", value::word::<String>(Role::MEMBER_NAMES));
    for name in ["allowed_email_domains", "blocked_email_domains"] {
        put(&mut settings, fields, name, value::list(1000, value::text(253)));
    }
    for name in [
        "allow_guest_access",
        "allow_api_access",
        "require_approval_for_new_users",
        "auto_deactivate_inactive_users",
    ] {
        put(&mut settings, fields, name, value::flag());
    }
    settings
}

fn put<T: Into<Value>>(
    to: &mut Map<String, Value>,
    fields: &mut Fields,
    name: &str,
    rule: Rule<impl Reads<T>, impl Describes>,
) {
    if let Some(value) = fields.optional(name, rule) {
        to.insert(name.to_owned(), value.into());
    }
}
