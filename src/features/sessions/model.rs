//! Sessions as other slices open them.

use serde::{Deserialize, Serialize};

use crate::kernel::{Millis, SessionId, UserId};

/// A session that a login opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// How long it lasts, from the entry's stamp.
    pub lasts_ms: i64,
    /// How its user proved who they are, in the words of RFC 8176.
    pub amr: Vec<String>,
}

/// When and how the user of a session last proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Whose session it is.
    pub user: UserId,
    /// When.
    pub at: Millis,
    /// By what, in the words of RFC 8176.
    pub amr: Vec<String>,
}
