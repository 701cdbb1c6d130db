//! Plans: quotas, features and defaults, as the one table that users of ThreatFlow know.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Resource;

/// What an organization has subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// $0.
    Free,
    /// $99 a month.
    Starter,
    /// $499 a month.
    Professional,
    /// By contract.
    Enterprise,
}

/// Something a plan includes or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name in v2.
    pub name: &'static str,
    /// The smallest plan that includes it.
    pub from: Plan,
}

/// No limit.
const NONE: i64 = -1;

/// One row a resource, in the order of [`Resource::ALL`]: free, starter, professional, enterprise.
const LIMITS: [[i64; 4]; 16] = [
    [3, 10, 50, NONE],
    [3, 10, 50, NONE],
    [1_000, 10_000, 100_000, NONE],
    [500, 5_000, 50_000, NONE],
    [1, 10, 100, 1_000],
    [30, 90, 180, 365],
    [5, 25, 100, NONE],
    [2, 10, 50, NONE],
    [1, 5, 25, NONE],
    [3, 10, 50, NONE],
    [10, 100, 1_000, NONE],
    [1_000, 10_000, 100_000, NONE],
    [10, 100, 1_000, NONE],
    [10, 100, 1_000, NONE],
    [50, 200, 1_000, NONE],
    [20, 100, 500, NONE],
];

impl Feature {
    /// Every feature flag.
    pub const ALL: [Self; 14] = [
        Self { name: "threat_intelligence", from: Plan::Free },
        Self { name: "hunting", from: Plan::Starter },
        Self::CASE_MANAGEMENT,
        Self { name: "workflows", from: Plan::Starter },
        Self { name: "feeds", from: Plan::Free },
        Self::STIX_EXPORT,
        Self { name: "misp_integration", from: Plan::Professional },
        Self { name: "community_sharing", from: Plan::Free },
        Self { name: "advanced_analytics", from: Plan::Starter },
        Self { name: "ml_features", from: Plan::Professional },
        Self { name: "api_access", from: Plan::Free },
        Self { name: "sso_integration", from: Plan::Professional },
        Self::AUDIT_LOGS,
        Self { name: "compliance_reports", from: Plan::Professional },
    ];

    /// Exporting intelligence as STIX.
    pub const STIX_EXPORT: Self = Self { name: "stix_export", from: Plan::Starter };
    /// Working with cases.
    pub const CASE_MANAGEMENT: Self = Self { name: "case_management", from: Plan::Starter };
    /// Reading the audit trail. It is written for every plan, always.
    pub const AUDIT_LOGS: Self = Self { name: "audit_logs", from: Plan::Starter };
}

impl Plan {
    /// The names of the plans, smallest first.
    pub const NAMES: &[&str] = &["free", "starter", "professional", "enterprise"];

    /// Every plan, smallest first.
    pub const ALL: [Self; 4] = [Self::Free, Self::Starter, Self::Professional, Self::Enterprise];

    /// The plan's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starter => "starter",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
        }
    }

    /// How much of `resource` the plan allows, in the quota's own unit; -1 is unlimited.
    pub fn limit(self, resource: Resource) -> i64 {
        let position = Resource::ALL.iter().position(|known| *known == resource);
        let row = position.and_then(|at| LIMITS.get(at));
        row.and_then(|row| row.get(self as usize)).copied().unwrap_or(0)
    }

    /// Whether the plan includes `feature`.
    pub fn includes(self, feature: Feature) -> bool {
        self >= feature.from
    }

    /// Days that data is kept unless the organization says otherwise.
    pub fn retention_days(self) -> i64 {
        self.limit(Resource::MaxRetentionDays)
    }

    /// Where data lies unless the organization says otherwise.
    pub fn storage_class(self) -> &'static str {
        if self == Self::Enterprise { "high_performance" } else { "standard" }
    }

    /// The state of a new subscription: paid plans start with a trial.
    pub fn first_status(self) -> &'static str {
        if self == Self::Free { "active" } else { "trial" }
    }
}

impl FromStr for Plan {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|plan| plan.name() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_published() {
        assert_eq!(Plan::Free.limit(Resource::MaxUsers), 3);
        assert_eq!(Plan::Starter.limit(Resource::MaxApiCallsPerMinute), 100);
        assert_eq!(Plan::Professional.limit(Resource::MaxCampaigns), 500);
        assert_eq!(Plan::Enterprise.limit(Resource::MaxStorageGb), 1_000);
        assert_eq!(Plan::Enterprise.limit(Resource::MaxThreatActors), -1);
    }

    #[test]
    fn paid_plans_start_with_a_trial() {
        assert_eq!(Plan::Free.first_status(), "active");
        assert_eq!(Plan::Starter.first_status(), "trial");
    }
}
