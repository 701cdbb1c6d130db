//! The leader's stamp for every entry.
//!
//! What always holds: stamps never fall within one process, and a process never stamps below the newest entry in
//! its log or in its files, so a new leader whose clock is behind continues where the old one was.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// A monotone wall clock in milliseconds since the epoch.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    newest_ms: AtomicU64,
    /// By how many milliseconds this node's clock is wrong.
    #[cfg(test)]
    pub(crate) skew_ms: std::sync::atomic::AtomicI64,
}

impl Clock {
    /// The stamp for the next entry: the system's time, or the newest stamp seen if that is later.
    pub(crate) fn stamp(&self) -> u64 {
        let now_ms = system_ms();
        #[cfg(test)]
        let now_ms = now_ms.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed));
        self.newest_ms.fetch_max(now_ms, Ordering::AcqRel).max(now_ms)
    }

    /// The newest stamp taken or seen.
    pub(crate) fn newest(&self) -> u64 {
        self.newest_ms.load(Ordering::Acquire)
    }

    /// Learns the stamp of an entry that is in the log or in the files.
    pub(crate) fn seen(&self, at_ms: u64) {
        self.newest_ms.fetch_max(at_ms, Ordering::AcqRel);
    }
}

/// Milliseconds since the epoch by the system's clock.
#[allow(clippy::disallowed_methods)] // the one clock that stamps; apply reads the stamp
pub(crate) fn system_ms() -> u64 {
    #[cfg(test)]
    if let Some(now_ms) = crate::sim::now_ms() {
        return now_ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_stamp_is_never_below_what_was_applied() {
        let clock = Clock::default();
        let ahead = clock.stamp() + 3_600_000;
        clock.seen(ahead);
        assert_eq!(clock.stamp(), ahead);
    }
}
