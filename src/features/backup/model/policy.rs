//! How backups are made, for all targets.

use serde::{Deserialize, Serialize};

/// What an operator may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Seconds between two looks for files that changed.
    pub image_seconds: u32,
    /// Days for which every moment can be restored.
    pub retention_days: u32,
    /// Nothing is removed from any target, whatever its age.
    pub legal_hold: bool,
    /// Hours between two drills; 0 for none.
    pub drill_hours: u32,
    /// Organizations that a drill restores, drawn by chance, beside the system file.
    pub drill_sample: u32,
    /// Seconds without a new moment to restore after which a target counts as behind.
    pub lag_seconds_max: u32,
    /// MiB of log that are held back while no target takes them.
    pub spool_mib: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            image_seconds: 10,
            retention_days: 30,
            legal_hold: false,
            drill_hours: 24,
            drill_sample: 3,
            lag_seconds_max: 60,
            spool_mib: 4096,
        }
    }
}
