//! Each rule of the engine, by its situation and its outcome.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod conditions;
mod decisions;
mod external;
mod policies;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::kernel::{GrantId, Millis, Role, UserId};

/// 2026-11-23T10:30:00Z, a Monday.
pub(super) const AT: Millis = Millis(1_795_429_800_000);

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn user() -> UserId {
    UserId(id(1))
}

pub(super) fn now() -> Circumstances {
    Circumstances { at: AT, ..Circumstances::default() }
}

/// A grant from its JSON, with an id of its own.
pub(super) fn grant(number: u128, mut body: Value) -> Grant {
    body["id"] = json!(GrantId(id(number)));
    serde_json::from_value(body).unwrap()
}

pub(super) fn with_grants(role: Role, grants: Vec<Value>) -> Compiled {
    let grants = grants.into_iter().zip(100..).map(|(body, number)| grant(number, body)).collect();
    Compiled::member(user(), role, &Given { grants, ..Given::default() })
}
