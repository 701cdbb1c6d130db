//! The sixteen quotas, as one table.

use serde::{Deserialize, Serialize};

use crate::kernel::{Millis, Period};

/// Bytes in the gigabyte of a quota.
const GB: i64 = 1_000_000_000;

/// What a usage belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Things that exist now.
    Gauge,
    /// What happened in a calendar month (UTC).
    Month,
    /// What happened on a calendar day (UTC).
    Day,
    /// What happens in a minute.
    Minute,
    /// A ceiling on a setting; nothing is counted.
    Ceiling,
}

/// Something that is limited by plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Users that exist.
    MaxUsers,
    /// Users that are active.
    MaxActiveUsers,
    /// Indicators taken in this month.
    #[serde(rename = "max_iocs_per_month")]
    MaxIocsPerMonth,
    /// Enrichments done this month.
    MaxEnrichmentsPerMonth,
    /// Size of the organization's file.
    #[serde(rename = "max_storage_gb")]
    MaxStorageGb,
    /// Days that data may be kept.
    MaxRetentionDays,
    /// Workflows.
    MaxWorkflows,
    /// Feeds.
    MaxFeeds,
    /// Integrations.
    MaxIntegrations,
    /// Dashboards.
    MaxDashboards,
    /// API calls in a minute.
    #[serde(rename = "max_api_calls_per_minute")]
    MaxApiCallsPerMinute,
    /// API calls today.
    #[serde(rename = "max_api_calls_per_day")]
    MaxApiCallsPerDay,
    /// Investigations.
    MaxInvestigations,
    /// Cases.
    MaxCases,
    /// Threat actors and intrusion sets.
    MaxThreatActors,
    /// Campaigns.
    MaxCampaigns,
}

impl Resource {
    /// Every resource, in the order of the plan table.
    pub const ALL: [Self; 16] = [
        Self::MaxUsers,
        Self::MaxActiveUsers,
        Self::MaxIocsPerMonth,
        Self::MaxEnrichmentsPerMonth,
        Self::MaxStorageGb,
        Self::MaxRetentionDays,
        Self::MaxWorkflows,
        Self::MaxFeeds,
        Self::MaxIntegrations,
        Self::MaxDashboards,
        Self::MaxApiCallsPerMinute,
        Self::MaxApiCallsPerDay,
        Self::MaxInvestigations,
        Self::MaxCases,
        Self::MaxThreatActors,
        Self::MaxCampaigns,
    ];

    /// Name of the quota (v1), name of the quota (v2), name of the usage counter (v2), stretch.
    fn row(self) -> (&'static str, &'static str, &'static str, Stretch) {
        match self {
            Self::MaxUsers => ("maxUsers", "max_users", "users", Stretch::Gauge),
            Self::MaxActiveUsers => ("maxActiveUsers", "max_active_users", "active_users", Stretch::Gauge),
            Self::MaxIocsPerMonth => {
                ("maxIOCsPerMonth", "max_iocs_per_month", "iocs_ingested", Stretch::Month)
            }
            Self::MaxEnrichmentsPerMonth => (
                "maxEnrichmentsPerMonth",
                "max_enrichments_per_month",
                "enrichments_performed",
                Stretch::Month,
            ),
            Self::MaxStorageGb => ("maxStorageGB", "max_storage_gb", "storage_used_gb", Stretch::Gauge),
            Self::MaxRetentionDays => {
                ("maxRetentionDays", "max_retention_days", "retention_days", Stretch::Ceiling)
            }
            Self::MaxWorkflows => ("maxWorkflows", "max_workflows", "active_workflows", Stretch::Gauge),
            Self::MaxFeeds => ("maxFeeds", "max_feeds", "active_feeds", Stretch::Gauge),
            Self::MaxIntegrations => {
                ("maxIntegrations", "max_integrations", "active_integrations", Stretch::Gauge)
            }
            Self::MaxDashboards => ("maxDashboards", "max_dashboards", "active_dashboards", Stretch::Gauge),
            Self::MaxApiCallsPerMinute => {
                ("maxAPICallsPerMinute", "max_api_calls_per_minute", "api_calls_this_minute", Stretch::Minute)
            }
            Self::MaxApiCallsPerDay => {
                ("maxAPICallsPerDay", "max_api_calls_per_day", "api_calls_today", Stretch::Day)
            }
            Self::MaxInvestigations => {
                ("maxInvestigations", "max_investigations", "active_investigations", Stretch::Gauge)
            }
            Self::MaxCases => ("maxCases", "max_cases", "active_cases", Stretch::Gauge),
            Self::MaxThreatActors => {
                ("maxThreatActors", "max_threat_actors", "threat_actors", Stretch::Gauge)
            }
            Self::MaxCampaigns => ("maxCampaigns", "max_campaigns", "campaigns", Stretch::Gauge),
        }
    }

    /// The quota's name as users know it, `maxUsers`.
    pub fn quota_name(self) -> &'static str {
        self.row().0
    }

    /// The quota's name in v2 and in the file, `max_users`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The usage counter's name in v2, `users`.
    pub fn usage_name(self) -> &'static str {
        self.row().2
    }

    /// What a usage belongs to.
    pub fn stretch(self) -> Stretch {
        self.row().3
    }

    /// How many of the counted unit one unit of the quota is: storage is counted in bytes.
    pub fn scale(self) -> i64 {
        if self == Self::MaxStorageGb { GB } else { 1 }
    }

    /// The period that a moment falls in.
    pub fn period(self, at: Millis) -> Period {
        match self.stretch() {
            Stretch::Gauge | Stretch::Ceiling => Period::default(),
            Stretch::Month => at.month(),
            Stretch::Day => at.day(),
            Stretch::Minute => at.minute(),
        }
    }

    /// Whether other services may report usage of it. The rest is measured by the server alone.
    pub fn is_reportable(self) -> bool {
        !matches!(
            self,
            Self::MaxStorageGb
                | Self::MaxRetentionDays
                | Self::MaxApiCallsPerMinute
                | Self::MaxApiCallsPerDay
        )
    }

    /// Reads either version's name of the quota.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.quota_name() == name || resource.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_and_the_api_use_the_same_name() {
        for resource in Resource::ALL {
            let stored = serde_json::to_value(resource).ok();
            assert_eq!(stored, Some(serde_json::Value::from(resource.name())));
            assert_eq!(Resource::parse(resource.quota_name()), Some(resource));
        }
    }
}
