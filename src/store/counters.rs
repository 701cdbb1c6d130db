//! What is counted about the care for files, since the process started. For metrics.

use std::sync::atomic::AtomicU64;

/// Counts that only rise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Files put in quarantine.
    pub alarms: AtomicU64,
    /// Files that left it.
    pub cleared: AtomicU64,
    /// Files compared with another node and found equal there, by the leader.
    pub compared: AtomicU64,
    /// Files scrubbed and found sound.
    pub scrubbed_files: AtomicU64,
    /// Bytes read by those scrubs.
    pub scrubbed_bytes: AtomicU64,
}
