//! What somebody shows beside a password, and what is asked of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kernel::{FactorId, Millis};

/// A kind of factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A password: only ever of what was refused.
    Password,
    /// A code of an authenticator app.
    Totp,
    /// A passkey, or a security key.
    Passkey,
    /// A recovery code.
    RecoveryCode,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// What a session says of it: the words of RFC 8176, and `recovery` for what it has no word for.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Password => &["pwd"],
            Self::Totp => &["otp", "mfa"],
            // The device was held and its holder verified: two factors in one.
            Self::Passkey => &["pop", "user", "mfa"],
            Self::RecoveryCode => &["recovery", "mfa"],
        }
    }
}

/// A handle that is good once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Its id.
    pub id: Uuid,
    /// When it ends.
    pub until: Millis,
}

/// What was shown, as the edge verified it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Shown {
    /// A code of a step.
    Totp {
        /// The factor.
        factor: FactorId,
        /// The step.
        step: i64,
    },
    /// A signature of a passkey.
    Passkey {
        /// The factor.
        factor: FactorId,
        /// Its count of signatures.
        counter: u32,
        /// Whether its provider keeps a copy of it.
        backed_up: bool,
    },
    /// A recovery code.
    RecoveryCode {
        /// Its digest.
        digest: String,
    },
    /// A factor that has just been enrolled, which is a proof of it.
    Enrolled {
        /// The factor.
        factor: FactorId,
    },
}

/// What was shown, and the handles that are spent with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What was shown.
    pub shown: Shown,
    /// What is spent with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spends: Vec<Spend>,
}

/// Who changes a user's own factors, and by what right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum By {
    /// The user, in a session of a short while ago.
    Session,
    /// The user, who may not come in before there is a factor.
    Enrolment {
        /// Whether a factor of another kind was shown.
        proven: bool,
        /// What says so; spent when the factor counts.
        handle: Spend,
    },
}

/// What is asked of a user who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The factors that the user has, if one of them must be shown; none when nothing is asked for.
    pub methods: Vec<Method>,
    /// Whether only a passkey will do.
    pub passkey_only: bool,
    /// Set when the user lacks a factor that would do: from when on it may only enrol.
    pub due: Option<Millis>,
}

impl Demand {
    /// Whether showing `method` (or nothing) lets the user in at `at`.
    pub fn lets_in(&self, method: Option<Method>, at: Millis) -> bool {
        let in_grace = self.due.is_some_and(|due| at < due);
        match method {
            None => self.methods.is_empty() && (self.due.is_none() || in_grace),
            Some(Method::Passkey) => true,
            // Who has a passkey but shows something else has lost it: it may enrol another.
            Some(_) => !self.passkey_only || in_grace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_lets_in_whoever_shows_what_it_asks_for_or_is_in_grace() {
        let at = Millis(1_000);
        let demand = |methods: &[Method], passkey_only, due: Option<i64>| Demand {
            methods: methods.to_vec(),
            passkey_only,
            due: due.map(Millis),
        };
        assert!(demand(&[], false, None).lets_in(None, at), "nothing is asked for");
        assert!(demand(&[], false, Some(1_001)).lets_in(None, at), "in grace");
        assert!(!demand(&[], false, Some(1_000)).lets_in(None, at), "past grace");
        assert!(!demand(&[Method::Totp], false, None).lets_in(None, at), "has one and shows none");
        assert!(demand(&[Method::Totp], false, None).lets_in(Some(Method::Totp), at));
        assert!(demand(&[Method::Totp], true, Some(1_001)).lets_in(Some(Method::Totp), at), "in grace");
        assert!(!demand(&[Method::Totp], true, Some(1_000)).lets_in(Some(Method::Totp), at));
        assert!(!demand(&[Method::Passkey], true, None).lets_in(Some(Method::RecoveryCode), at));
        assert!(demand(&[Method::Passkey], true, None).lets_in(Some(Method::Passkey), at));
    }
}
