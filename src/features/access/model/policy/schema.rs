//! The schema that policies are validated against, made from the table of permissions.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::LazyLock,
};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema};

use crate::{
    features::access::model::{Circumstances, window::local},
    kernel::{Attributes, Field, Permission, PermissionSet},
};

/// `investigation` is `Investigation`, `audit_log` is `AuditLog`.
pub fn type_name(resource: &str) -> String {
    let mut name = String::with_capacity(resource.len());
    for word in resource.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name
}

/// An entity. Type names are parsed once.
pub(super) fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    static KINDS: LazyLock<BTreeMap<String, EntityTypeName>> = LazyLock::new(|| {
        let of_things = PermissionSet::GRANTABLE.iter().map(|one| type_name(one.resource()));
        let all = of_things.chain(["User", "Role", "Group", "Action"].map(str::to_owned));
        all.filter_map(|name| Some((name.clone(), EntityTypeName::from_str(&name).ok()?))).collect()
    });
    Some(EntityUid::from_type_name_and_id(KINDS.get(kind)?.clone(), EntityId::new(id)))
}

/// A permission's action.
pub(super) fn action(permission: Permission) -> Option<EntityUid> {
    uid("Action", permission.action())
}

/// The attributes of a thing, those that it has.
pub(super) fn attributes_of(thing: &Attributes) -> Option<Vec<(String, RestrictedExpression)>> {
    let user = |user: &crate::kernel::UserId| {
        uid("User", &user.to_string()).map(RestrictedExpression::new_entity_uid)
    };
    let mut all = Vec::new();
    for (name, named) in [("owner", &thing.owner), ("assignee", &thing.assignee)] {
        if let Some(named) = named {
            all.push((name.to_owned(), user(named)?));
        }
    }
    let people = thing.collaborators.iter().map(|(person, _)| user(person)).collect::<Option<Vec<_>>>()?;
    all.push(("collaborators".to_owned(), RestrictedExpression::new_set(people)));
    for (field, value) in &thing.fields {
        all.push((field.name().to_owned(), RestrictedExpression::new_string(value.clone())));
    }
    for (name, flag) in [("read_only", thing.read_only), ("limited", thing.limited)] {
        all.extend(flag.map(|flag| (name.to_owned(), RestrictedExpression::new_bool(flag))));
    }
    Some(all)
}

/// The context of a question: what is not known is not in it.
pub(super) fn context_of(how: &Circumstances) -> Vec<(String, RestrictedExpression)> {
    let (weekday, minute) = local(how.at, 0);
    let mut all = vec![
        ("at".to_owned(), RestrictedExpression::new_long(how.at.0)),
        ("weekday".to_owned(), RestrictedExpression::new_long(weekday + 1)),
        ("minute".to_owned(), RestrictedExpression::new_long(minute)),
    ];
    let ip = how.ip.map(|ip| RestrictedExpression::new_ip(ip.to_canonical().to_string()));
    let age = how.authenticated.map(|since| how.at.0.saturating_sub(since.0).div_euclid(1000));
    all.extend(ip.map(|ip| ("ip".to_owned(), ip)));
    all.extend(how.mfa.map(|mfa| ("mfa".to_owned(), RestrictedExpression::new_bool(mfa))));
    all.extend(age.map(|age| ("auth_age_seconds".to_owned(), RestrictedExpression::new_long(age))));
    all
}

/// What every question's context may hold.
const CONTEXT: &str =
    "{ at: Long, weekday: Long, minute: Long, ip?: ipaddr, mfa?: Bool, auth_age_seconds?: Long }";

/// The schema as text, in Cedar's own language.
pub(super) fn text() -> String {
    let mut attributes =
        "owner?: User, assignee?: User, collaborators: Set<User>, read_only?: Bool, limited?: Bool"
            .to_owned();
    for field in Field::ALL {
        attributes.extend([", ", field.name(), "?: String"]);
    }
    let mut types: BTreeSet<String> = ["User", "Role", "Group"].map(str::to_owned).into();
    let mut actions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for permission in PermissionSet::GRANTABLE.iter() {
        let name = type_name(permission.resource());
        types.insert(name.clone());
        actions.entry(permission.action()).or_default().push(name);
    }
    let mut text = String::new();
    for name in types {
        let above = if name == "User" { " in [Role, Group]" } else { "" };
        text.extend(["entity ", &name, above, " { ", &attributes, " };\n"]);
    }
    for (action, resources) in actions {
        let resources = resources.join(", ");
        text.extend(["action \"", action, "\" appliesTo { principal: [User], resource: [", &resources]);
        text.extend(["], context: ", CONTEXT, " };\n"]);
    }
    text
}

/// The schema, read once.
pub(super) static SCHEMA: LazyLock<Option<Schema>> =
    LazyLock::new(|| Schema::from_cedarschema_str(&text()).ok().map(|(schema, _)| schema));
