//! Time as data: milliseconds since the epoch, stamped by the leader, read nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Reads RFC 3339 text; `None` when it is not.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// The calendar month in UTC, `2026-11`.
    pub fn month(self) -> Period {
        Period(self.date().get(..7).unwrap_or_default().to_owned())
    }

    /// The calendar day in UTC, `2026-11-23`.
    pub fn day(self) -> Period {
        Period(self.date())
    }

    /// The minute since the epoch, as text.
    pub fn minute(self) -> Period {
        Period(format!("m{}", self.0.div_euclid(60_000)))
    }

    fn date(self) -> String {
        let format = format_description!("[year]-[month]-[day]");
        self.moment().date().format(&format).unwrap_or_default()
    }

    fn moment(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Millis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        out.write_str(&self.moment().format(&format).map_err(|_| fmt::Error)?)
    }
}

/// The stretch of time a counter belongs to; empty for gauges, which belong to none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_and_reads_as_rfc_3339() {
        let moment = Millis(1_795_392_000_123);
        assert_eq!(moment.to_string(), "2026-11-23T00:00:00.123Z");
        assert_eq!(Millis::parse(&moment.to_string()), Some(moment));
        assert_eq!(Millis::parse("2026-11-23T01:00:00.123+01:00"), Some(moment));
        assert_eq!(Millis::parse("yesterday"), None);
    }

    #[test]
    fn periods_are_calendar_stretches_in_utc() {
        let moment = Millis(1_795_392_000_123);
        assert_eq!(moment.month(), Period("2026-11".into()));
        assert_eq!(moment.day(), Period("2026-11-23".into()));
        assert_eq!(Millis(-1).day(), Period("1969-12-31".into()));
    }
}
