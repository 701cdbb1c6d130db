//! Sessions as other slices open them.

use serde::{Deserialize, Serialize};

use crate::kernel::{SessionId, UserId};

/// A session that a login opens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// How long it lasts, from the entry's stamp.
    pub lasts_ms: i64,
}
