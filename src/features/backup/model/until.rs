//! To which moment something is restored.

use serde::{Deserialize, Serialize};

use crate::kernel::Millis;

/// Up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The newest moment there is.
    Newest,
    /// The entry at this index, and none after it.
    Index(u64),
    /// The last entry stamped at this moment or before it.
    At(Millis),
}
