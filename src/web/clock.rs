//! The edge's clock: for tokens, headers and limits. What is stored is stamped by the leader.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::kernel::Millis;

/// The time now, as this node believes it.
#[allow(clippy::disallowed_methods)] // the edge is where time may be read
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
