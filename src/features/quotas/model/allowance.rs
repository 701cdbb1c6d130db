//! What is used, what is allowed, and whether more may be taken.

use serde::{Deserialize, Serialize};

use super::Resource;
use crate::kernel::Refusal;

/// Shares of a quota, in percent, at which a warning is raised once per crossing and period.
pub const THRESHOLDS: [i64; 3] = [80, 90, 100];

/// Usage and limit of one resource, in the unit that is counted (bytes for storage).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The resource.
    pub resource: Resource,
    /// Counted from rows of the organization's file.
    pub counted: i64,
    /// Reported by other services of the platform.
    pub reported: i64,
    /// What is allowed, in the quota's own unit; -1 is unlimited.
    pub quota: i64,
}

/// The answer to "may I?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is used.
    pub usage: i64,
    /// What is allowed; -1 is unlimited.
    pub quota: i64,
}

impl Allowance {
    /// What is used, in the counted unit.
    pub fn used(&self) -> i64 {
        self.counted.saturating_add(self.reported)
    }

    /// What is used, in whole units of the quota, rounded up.
    pub fn usage(&self) -> i64 {
        self.in_units(self.used())
    }

    /// Some of the counted unit in whole units of the quota, rounded up.
    fn in_units(&self, amount: i64) -> i64 {
        let scale = self.resource.scale();
        amount.div_euclid(scale) + i64::from(amount.rem_euclid(scale) > 0)
    }

    /// What is allowed in the counted unit; `None` is unlimited.
    pub fn limit(&self) -> Option<i64> {
        (self.quota >= 0).then(|| self.quota.saturating_mul(self.resource.scale()))
    }

    /// How much more may be taken; `None` is unlimited.
    pub fn left(&self) -> Option<i64> {
        self.limit().map(|limit| limit.saturating_sub(self.used()).max(0))
    }

    /// Allows `amount` more, or refuses.
    pub fn require(&self, amount: i64) -> Result<(), Refusal> {
        match self.left() {
            Some(left) if amount > left => Err(Refusal::QuotaExceeded {
                resource: self.resource.quota_name().to_owned(),
                usage: self.usage(),
                quota: self.quota,
                requested: self.in_units(amount),
            }),
            _ => Ok(()),
        }
    }

    /// Whether `amount` more would be allowed now.
    pub fn check(&self, amount: i64) -> Check {
        let allowed = self.require(amount).is_ok();
        let reason = (!allowed).then(|| format!("Quota exceeded for {}", self.resource.quota_name()));
        Check { allowed, reason, usage: self.usage(), quota: self.quota }
    }

    /// Usage in percent of the quota, rounded down; 0 when unlimited.
    pub fn percent(&self) -> i64 {
        match self.limit() {
            None => 0,
            Some(0) => i64::from(self.used() > 0) * 100,
            Some(limit) => {
                i64::try_from(i128::from(self.used()) * 100 / i128::from(limit)).unwrap_or(i64::MAX)
            }
        }
    }

    /// The highest threshold reached.
    pub fn threshold(&self) -> i64 {
        let percent = self.percent();
        THRESHOLDS.into_iter().rev().find(|threshold| percent >= *threshold).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflows(counted: i64, quota: i64) -> Allowance {
        Allowance { resource: Resource::MaxWorkflows, counted, reported: 0, quota }
    }

    #[test]
    fn the_last_one_is_allowed_and_the_next_is_not() {
        assert!(workflows(4, 5).require(1).is_ok());
        assert!(workflows(5, 5).require(1).is_err());
        assert!(workflows(3, 5).require(3).is_err());
        assert_eq!(workflows(5, 5).check(1).reason.as_deref(), Some("Quota exceeded for maxWorkflows"));
    }

    #[test]
    fn a_limit_below_present_use_refuses_growth_and_nothing_else() {
        assert!(workflows(9, 5).require(1).is_err());
        assert!(workflows(9, 5).require(0).is_ok());
        assert_eq!(workflows(9, 5).percent(), 180);
    }

    #[test]
    fn unlimited_is_never_reached() {
        assert!(workflows(i64::MAX - 1, -1).require(i64::MAX).is_ok());
        assert_eq!(workflows(7, -1).threshold(), 0);
    }

    #[test]
    fn storage_is_counted_in_bytes_and_shown_in_gigabytes() {
        let storage =
            Allowance { resource: Resource::MaxStorageGb, counted: 900_000_000, reported: 0, quota: 1 };
        assert_eq!((storage.usage(), storage.percent(), storage.threshold()), (1, 90, 90));
        assert!(storage.require(100_000_000).is_ok());
        assert!(storage.require(100_000_001).is_err());
    }
}
