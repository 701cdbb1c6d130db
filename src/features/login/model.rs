//! How failures slow logging in down, and what a domain's name server is to say: pure rules.
//!
//! Three counts: of one source at one account, of one source at whatever account, of one account from whatever source.
//! Each allows some failures and then doubles a delay up to its longest. None locks: after its delay, one more try is
//! free.

use serde::{Deserialize, Serialize};

use crate::kernel::{DAY_MS, Millis};

/// What failures are counted for, as keyed digests: neither addresses nor e-mails lie in the table.
///
/// An account has several names (an address, a username, a passkey). It is counted as one, and each name is counted
/// beside it: a client is told of what it did under the name that it said, and of nothing else, since a delay under a
/// name that it never said would tell that both are one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// One source at one account.
    pub pair: String,
    /// One source.
    pub source: String,
    /// One account.
    pub account: String,
    /// The names that were said; without one, what is counted for the account is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Name>,
}

/// One name of an account, as keyed digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// One source under this name.
    pub pair: String,
    /// Any source under this name.
    pub account: String,
}

impl Keys {
    /// Only what was said: failures that are no guess at the account's password.
    #[must_use]
    pub fn of_names(&self) -> Self {
        let mut names = self.names.clone();
        match names.pop() {
            None => self.clone(),
            Some(Name { pair, account }) => Self { pair, source: self.source.clone(), account, names },
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// For what was done under the names that were said, and by the source: 429.
    pub told_ms: i64,
    /// For what was done under whatever name: nothing is taken, and the answer is that of a wrong password.
    pub untold_ms: i64,
}

/// One of the three counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Of one source at one account.
    Pair,
    /// Of one source.
    Source,
    /// Of one account.
    Account,
}

/// How often something failed, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How often.
    pub count: u32,
    /// When last.
    pub last: Millis,
    /// When this source last logged in to this account.
    pub trusted: Option<Millis>,
}

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
/// A source that logged in to an account is known to it for as long.
const TRUSTED_MS: i64 = 90 * DAY_MS;
/// Failures are forgotten when there was none for as long.
pub const FORGOTTEN_MS: i64 = DAY_MS;

impl Count {
    /// Failures without a delay, and the longest delay.
    fn rule(self) -> (u32, i64) {
        match self {
            Self::Pair => (5, 15 * MINUTE_MS),
            Self::Source => (30, 15 * MINUTE_MS),
            Self::Account => (100, 30 * SECOND_MS),
        }
    }

    /// How long to wait after the last of so many failures.
    pub fn delay_ms(self, failures: u32) -> i64 {
        let (free, longest) = self.rule();
        match failures.checked_sub(free) {
            None => 0,
            Some(beyond) => SECOND_MS.checked_shl(beyond.min(20)).unwrap_or(longest).min(longest),
        }
    }
}

impl Failures {
    /// The same after one more failure.
    #[must_use]
    pub fn and_one(self, at: Millis) -> Self {
        let kept = if at.0 - self.last.0 > FORGOTTEN_MS { 0 } else { self.count };
        Self { count: kept.saturating_add(1), last: at, ..self }
    }

    fn wait_ms(self, count: Count, at: Millis) -> i64 {
        if at.0 - self.last.0 > FORGOTTEN_MS {
            return 0;
        }
        // Never longer than the delay itself: `at` is the clock of one node, `last` the stamp of whoever led, and may be ahead.
        let delay_ms = count.delay_ms(self.count);
        (self.last.0 + delay_ms - at.0).clamp(0, delay_ms)
    }
}

/// How long a login must wait, from the counts of its pair, its source and its account.
pub fn wait_ms(pair: Failures, source: Failures, account: Failures, at: Millis) -> i64 {
    let own = pair.wait_ms(Count::Pair, at).max(source.wait_ms(Count::Source, at));
    let known = pair.trusted.is_some_and(|since| at.0 - since.0 <= TRUSTED_MS);
    if known { own } else { own.max(account.wait_ms(Count::Account, at)) }
}

/// Where a domain's name server is to say the challenge.
pub fn record_name(domain: &str) -> String {
    format!("_threatflow.{domain}")
}

/// What it is to say there, in a TXT record.
pub fn record_value(challenge: &str) -> String {
    format!("threatflow-domain-verification={challenge}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Millis = Millis(1_000_000_000);

    fn failed(count: u32) -> Failures {
        Failures { count, last: AT, trusted: None }
    }

    #[test]
    fn delays_begin_after_the_free_tries_and_double_up_to_the_longest() {
        let delays: Vec<i64> = [0, 4, 5, 6, 7, 14, 15, 16, 1000].map(|n| Count::Pair.delay_ms(n)).to_vec();
        assert_eq!(delays, [0, 0, 1_000, 2_000, 4_000, 512_000, 900_000, 900_000, 900_000]);
        assert_eq!(Count::Account.delay_ms(u32::MAX), 30_000);
    }

    #[test]
    fn a_stranger_slows_an_account_for_strangers_and_not_for_who_is_known_there() {
        let known = Failures { trusted: Some(AT.plus(-DAY_MS)), ..Failures::default() };
        let (quiet, hammered) = (Failures::default(), failed(500));
        assert_eq!(wait_ms(known, quiet, hammered, AT), 0);
        assert_eq!(wait_ms(quiet, quiet, hammered, AT), 30_000);
        let forgotten = Failures { trusted: Some(AT.plus(-91 * DAY_MS)), ..Failures::default() };
        assert_eq!(wait_ms(forgotten, quiet, hammered, AT), 30_000);
        // Known or not, one's own failures count.
        assert_eq!(wait_ms(Failures { trusted: known.trusted, ..failed(6) }, quiet, quiet, AT), 2_000);
    }

    #[test]
    fn what_is_counted_for_a_name_alone_leaves_the_account_out() {
        let name = |text: &str| Name { pair: format!("{text}-pair"), account: format!("{text}-account") };
        let keys =
            Keys { pair: "p".into(), source: "s".into(), account: "a".into(), names: vec![name("key")] };
        let Keys { pair, source, account, names } = keys.of_names();
        assert_eq!((pair, source, account), ("key-pair".into(), "s".into(), "key-account".into()));
        assert!(names.is_empty());
    }

    #[test]
    fn waiting_ends_and_failures_are_forgotten_after_a_day() {
        assert_eq!(wait_ms(failed(6), Failures::default(), Failures::default(), AT.plus(1_500)), 500);
        assert_eq!(wait_ms(failed(6), Failures::default(), Failures::default(), AT.plus(2_000)), 0);
        // A clock that is behind, or was set back, makes nobody wait who need not, and nobody longer.
        let behind =
            |count| wait_ms(failed(count), Failures::default(), Failures::default(), AT.plus(-3_600_000));
        assert_eq!((behind(0), behind(4), behind(6)), (0, 0, 2_000));
        assert_eq!(failed(6).and_one(AT.plus(FORGOTTEN_MS)).count, 7);
        assert_eq!(failed(6).and_one(AT.plus(FORGOTTEN_MS + 1)).count, 1);
    }
}
