//! The published table of permissions and built-in roles.

use serde_json::{Value, json};

use crate::{
    features::access::model::condition_of,
    kernel::{Permission, PermissionSet, ROLES, Role},
    web::{Method, Needs, Reply, Route},
};

/// The route.
pub(super) fn route() -> Route {
    let summary = "The permissions, and what the built-in roles hold on which condition";
    Route::v2(Method::Get, "/access/matrix", "getAccessMatrix", summary, Needs::Caller, |_| {
        Box::pin(async { Ok(Reply::ok(matrix())) })
    })
}

/// The table, as data.
pub(super) fn matrix() -> Value {
    let named = |permission: &Permission| {
        json!({
            "name": permission.name(),
            "action": permission.action(),
            "resource": permission.resource(),
            "grantable": PermissionSet::GRANTABLE.holds(*permission),
        })
    };
    let permissions = Permission::ALL.iter().filter(|one| !one.action().is_empty()).map(named);
    let roles = ROLES.iter().map(|row| {
        let adds = row.adds.iter().flat_map(|(when, adds)| {
            let condition = condition_of(*when).map(|condition| condition.to_value());
            let adds = adds.iter().filter(|one| !one.action().is_empty());
            adds.map(move |one| json!({ "permission": one.name(), "condition": condition }))
        });
        json!({
            "role": row.role.name(),
            "inherits": row.inherits.map(Role::name),
            "adds": adds.collect::<Vec<_>>(),
            "everything": row.role == Role::Admin,
        })
    });
    json!({ "permissions": permissions.collect::<Vec<_>>(), "roles": roles.collect::<Vec<_>>() })
}
