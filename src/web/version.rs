//! Versions of the API: snake_case in v2, camelCase (with its acronyms) in v1.

use serde_json::{Map, Value};

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Frozen: what existing ThreatFlow clients know.
    V1,
    /// The full API.
    V2,
    /// Paths that a standard fixes, `/.well-known/...`; written as v2 is.
    Bare,
}

/// Words that v1 writes in capitals, except at the start of a name.
const ACRONYMS: &[(&str, &str)] =
    &[("api", "API"), ("gb", "GB"), ("iocs", "IOCs"), ("ips", "IPs"), ("mfa", "MFA")];

impl Version {
    /// The prefix of the version's paths.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::V1 => "/api/v1",
            Self::V2 => "/api/v2",
            Self::Bare => "",
        }
    }

    /// How the version writes a field's name.
    pub fn key(self, name: &str) -> String {
        match self {
            Self::V1 => camel(name),
            Self::V2 | Self::Bare => name.to_owned(),
        }
    }

    /// A view with every name written as the version writes it.
    pub fn view(self, value: Value) -> Value {
        match (self, value) {
            (Self::V1, Value::Object(fields)) => {
                let renamed = fields.into_iter().map(|(name, value)| (camel(&name), self.view(value)));
                Value::Object(renamed.collect::<Map<_, _>>())
            }
            (Self::V1, Value::Array(items)) => items.into_iter().map(|item| self.view(item)).collect(),
            (_, value) => value,
        }
    }
}

fn camel(name: &str) -> String {
    let word = |(place, word): (usize, &str)| -> String {
        let acronym = ACRONYMS.iter().find(|(plain, _)| *plain == word);
        let mut letters = word.chars();
        match (place, acronym, letters.next()) {
            (0, _, _) | (_, None, None) => word.to_owned(),
            (_, Some((_, capital)), _) => (*capital).to_owned(),
            (_, None, Some(first)) => first.to_uppercase().chain(letters).collect(),
        }
    };
    name.split('_').enumerate().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_writes_names_as_its_clients_know_them() {
        let pairs = [
            ("max_iocs_per_month", "maxIOCsPerMonth"),
            ("max_api_calls_per_day", "maxAPICallsPerDay"),
            ("storage_used_gb", "storageUsedGB"),
            ("iocs_ingested", "iocsIngested"),
            ("api_calls_today", "apiCallsToday"),
            ("require_mfa", "requireMFA"),
            ("allowed_ips", "allowedIPs"),
            ("parent_organization_id", "parentOrganizationId"),
            ("slug", "slug"),
        ];
        for (name, known) in pairs {
            assert_eq!(Version::V1.key(name), known);
            assert_eq!(Version::V2.key(name), name);
        }
    }
}
