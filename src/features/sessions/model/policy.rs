//! How long sessions of an organization last.

use serde::{Deserialize, Serialize};

use crate::kernel::{FieldError, Millis};

/// Limits on the sessions of an organization. They hold from the moment they are set, for open sessions too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Minutes without use after which a session ends.
    pub idle_minutes: i64,
    /// Hours after which it ends however much it is used.
    pub absolute_hours: i64,
    /// Sessions that one user may have; with one more the oldest ends.
    pub concurrent_max: i64,
}

const MINUTE_MS: i64 = 60_000;

/// One hour idle and one day at most are what NIST SP 800-63B-4 (2.2.3) asks for at AAL2.
impl Default for Policy {
    fn default() -> Self {
        Self { idle_minutes: 60, absolute_hours: 24, concurrent_max: 50 }
    }
}

impl Policy {
    /// Least and most of each.
    pub const IDLE_MINUTES: (i64, i64) = (5, 43_200);
    /// Least and most of each.
    pub const ABSOLUTE_HOURS: (i64, i64) = (1, 8_760);
    /// Least and most of each.
    pub const CONCURRENT_MAX: (i64, i64) = (1, 1_000);

    /// Every limit that is out of its bounds.
    pub fn judge(&self) -> Vec<FieldError> {
        let bounds = [
            ("/idle_minutes", self.idle_minutes, Self::IDLE_MINUTES),
            ("/absolute_hours", self.absolute_hours, Self::ABSOLUTE_HOURS),
            ("/concurrent_max", self.concurrent_max, Self::CONCURRENT_MAX),
        ];
        let wrong = |(name, value, (min, max)): (&str, i64, (i64, i64))| {
            (value < min || value > max)
                .then(|| FieldError::new(name, format!("must be from {min} to {max}")))
        };
        let mut errors: Vec<FieldError> = bounds.into_iter().filter_map(wrong).collect();
        if errors.is_empty() && self.idle_ms() > self.absolute_ms() {
            errors.push(FieldError::new("/idle_minutes", "must not be longer than `absolute_hours`"));
        }
        errors
    }

    /// The idle limit in milliseconds.
    pub fn idle_ms(&self) -> i64 {
        self.idle_minutes.saturating_mul(MINUTE_MS)
    }

    fn absolute_ms(&self) -> i64 {
        self.absolute_hours.saturating_mul(60 * MINUTE_MS)
    }

    /// When a session that was opened at `created` ends at the latest.
    pub fn ends(&self, created: Millis) -> Millis {
        created.plus(self.absolute_ms())
    }

    /// Whether a session has neither limit behind it.
    pub fn alive(&self, created: Millis, seen: Millis, at: Millis) -> bool {
        at < self.ends(created) && at < seen.plus(self.idle_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_at_the_first_limit_that_it_reaches() {
        let policy = Policy { idle_minutes: 30, absolute_hours: 1, concurrent_max: 1 };
        let minute = |minutes: i64| Millis(minutes * MINUTE_MS);
        assert!(policy.alive(minute(0), minute(0), minute(29)));
        assert!(!policy.alive(minute(0), minute(0), minute(30)));
        assert!(policy.alive(minute(0), minute(40), minute(59)));
        assert!(!policy.alive(minute(0), minute(59), minute(60)));
    }

    #[test]
    fn limits_out_of_bounds_are_named() {
        assert!(Policy::default().judge().is_empty());
        let wrong = Policy { idle_minutes: 1, absolute_hours: 0, concurrent_max: 0 }.judge();
        assert_eq!(wrong.len(), 3);
        let longer = Policy { idle_minutes: 61, absolute_hours: 1, concurrent_max: 1 }.judge();
        assert_eq!(longer.first().map(|error| error.pointer.as_str()), Some("/idle_minutes"));
    }
}
