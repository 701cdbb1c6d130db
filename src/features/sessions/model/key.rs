//! Signing keys: how long each is what.

use serde::{Deserialize, Serialize};

use crate::kernel::DAY_MS;

/// How long an access token lasts.
pub const TOKEN_SECONDS: i64 = 600;
/// Days that a key signs before the next one takes over by itself.
pub const KEY_DAYS: i64 = 90;
/// How long a key is published before it signs: twice what others may keep the list of keys for.
pub const PUBLISHED_MS: i64 = 600_000;
/// How long one that signs no more is kept: while its last tokens are good, and a minute for a node that is behind.
pub const RETIRED_MS: i64 = TOKEN_SECONDS * 1000 + 60_000;

/// A signing key as a command carries it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewKey {
    /// Its name: the thumbprint of its public half (RFC 7638).
    pub kid: String,
    /// The public half (hexadecimal).
    pub public: String,
    /// The whole (PKCS#8), sealed under the cluster key (hexadecimal).
    pub sealed: String,
}

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It is published, and will sign.
    Next,
    /// It signs.
    Active,
    /// It signs no more; what it signed is still good.
    Retired,
}

impl KeyState {
    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    /// Reads [`KeyState::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired].into_iter().find(|state| state.name() == name)
    }

    /// How long a key is in this state before it changes by itself.
    pub fn lasts_ms(self) -> i64 {
        match self {
            Self::Next => PUBLISHED_MS,
            Self::Active => KEY_DAYS * DAY_MS,
            Self::Retired => RETIRED_MS,
        }
    }
}
