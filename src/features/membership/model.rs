//! The way from one authority of the cluster to the next, and when a dead node may be cleaned away: pure rules.

use serde::{Deserialize, Serialize};

/// A step of a rotation. Each begins when every member is known to be at the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Members trust both authorities and show certificates of the old one.
    Trust,
    /// Members trust both and show certificates of the new one.
    Issue,
    /// Members trust the new one alone.
    Forget,
}

impl Step {
    /// What follows.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Trust => Some(Self::Issue),
            Self::Issue => Some(Self::Forget),
            Self::Forget => None,
        }
    }
}

/// The rotation under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// How far it is.
    pub step: Step,
    /// Fingerprint of the old authority.
    pub from: String,
    /// Fingerprint of the new one.
    pub to: String,
    /// Certificate of the old one (DER, hexadecimal).
    pub old: String,
}

/// Name of the shared secret that is the authority with this fingerprint. A name for each: whoever seals secrets
/// anew while a rotation begins cannot put one authority in the place of another.
pub fn secret_of(fingerprint: &str) -> String {
    format!("{SECRETS}{fingerprint}")
}

/// What the names of such secrets begin with.
pub const SECRETS: &str = "authority:";

/// What a member says about its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Fingerprint of the authority that issued what it shows.
    pub authority: String,
    /// Fingerprints of the authorities that it trusts.
    pub trusted: Vec<String>,
}

impl Rotation {
    /// Why a member keeps the rotation where it is; `None` when it does not.
    pub fn waits_for(&self, member: &Result<Shown, String>) -> Option<String> {
        let shown = match member {
            Ok(shown) => shown,
            Err(why) => return Some(format!("does not answer ({why})")),
        };
        let wrong = match self.step {
            Step::Trust => !shown.trusted.contains(&self.to),
            Step::Issue => shown.authority != self.to,
            Step::Forget => shown.trusted != [self.to.as_str()],
        };
        wrong.then(|| {
            let missing = match self.step {
                Step::Trust => "does not trust the new authority yet",
                Step::Issue => "shows a certificate of the old authority",
                Step::Forget => "still trusts the old authority",
            };
            missing.to_owned()
        })
    }
}

/// A voter, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its number.
    pub node: u64,
    /// Milliseconds since it last answered.
    pub silent_ms: u64,
}

/// The voter that may be cleaned away: the one silent for longest, if for longer than `dead_ms`, if at least
/// `least` voters stay, and a majority of those is not silent.
pub fn dead_voter(voters: &[Voter], dead_ms: u64, least: usize) -> Option<u64> {
    let dead = voters.iter().filter(|voter| voter.silent_ms > dead_ms).max_by_key(|voter| voter.silent_ms)?;
    let stay = voters.len().saturating_sub(1);
    let up = voters.iter().filter(|voter| voter.silent_ms <= dead_ms).count();
    (stay >= least.max(1) && up > stay / 2).then_some(dead.node)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unnecessary_wraps)] // a member is an answer or none

    use super::{Rotation, Shown, Step, Voter, dead_voter};

    fn rotation(step: Step) -> Rotation {
        let text = |text: &str| text.to_owned();
        Rotation { step, from: text("old"), to: text("new"), old: String::new() }
    }

    fn member(authority: &str, trusted: &[&str]) -> Result<Shown, String> {
        let trusted = trusted.iter().map(|name| (*name).to_owned()).collect();
        Ok(Shown { authority: authority.to_owned(), trusted })
    }

    #[test]
    fn each_step_waits_for_what_makes_the_next_one_safe() {
        let old = member("old", &["old"]);
        let trusts = member("old", &["old", "new"]);
        let issues = member("new", &["new", "old"]);
        let forgot = member("new", &["new"]);
        let waits =
            |step: Step| [&old, &trusts, &issues, &forgot].map(|it| rotation(step).waits_for(it).is_some());
        assert_eq!(waits(Step::Trust), [true, false, false, false]);
        assert_eq!(waits(Step::Issue), [true, true, false, false]);
        assert_eq!(waits(Step::Forget), [true, true, true, false]);
    }

    #[test]
    fn a_member_that_does_not_answer_keeps_every_step() {
        for step in [Step::Trust, Step::Issue, Step::Forget] {
            let why = rotation(step).waits_for(&Err("no connection".to_owned())).unwrap_or_default();
            assert!(why.contains("no connection"), "{why}");
        }
    }

    fn voters<const N: usize>(silent_ms: [u64; N]) -> [Voter; N] {
        let mut node = 0;
        silent_ms.map(|silent_ms| {
            node += 1;
            Voter { node, silent_ms }
        })
    }

    #[test]
    fn the_one_silent_for_longest_goes_first_and_only_when_enough_stay() {
        assert_eq!(dead_voter(&voters([0, 5, 5, 5]), 100, 3), None, "nobody is dead");
        assert_eq!(dead_voter(&voters([0, 5, 500, 5]), 100, 3), Some(3));
        assert_eq!(dead_voter(&voters([0, 5, 500]), 100, 3), None, "two would stay");
        assert_eq!(dead_voter(&voters([0, 5, 500]), 100, 2), Some(3));
        assert_eq!(dead_voter(&voters([0, 5, 5, 500, 900]), 100, 3), Some(5), "one at a time");
        assert_eq!(dead_voter(&voters([0, 500, 900]), 100, 1), None, "one of two is no majority");
        assert_eq!(dead_voter(&voters([0, 500]), 100, 0), Some(2));
        assert_eq!(dead_voter(&voters([500]), 100, 0), None, "the last one stays");
    }
}
