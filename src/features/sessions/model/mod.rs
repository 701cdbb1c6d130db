//! Sessions as other slices open them, how long they last, and the states of a signing key.

mod allowed;
mod key;
mod policy;

use serde::{Deserialize, Serialize};

use crate::kernel::{Millis, SessionId, UserId};

pub use allowed::Allowed;
pub use key::{KEY_DAYS, KeyState, NewKey, PUBLISHED_MS, RETIRED_MS, TOKEN_SECONDS};
pub use policy::Policy;

/// A session that a login opens. What it was opened from (address, device) is the origin of the command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// How the user proved who it is: words of RFC 8176 such as `pwd`, `otp`, `hwk`, `mfa`.
    pub amr: Vec<String>,
    /// SHA-256 of its first refresh token (hexadecimal).
    pub refresh: String,
    /// The secret of that token, sealed under the cluster key (hexadecimal): for a repeated request.
    pub sealed: String,
}

/// A session that was opened, as the command that did it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The session; of the first request, when this one repeats it.
    pub session: SessionId,
    /// When its user proved who it is.
    pub auth_time: Millis,
    /// As [`NewSession::amr`].
    pub amr: Vec<String>,
    /// As [`NewSession::sealed`].
    pub sealed: String,
}

/// When and how the user of a session last proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Whose session it is.
    pub user: UserId,
    /// When.
    pub at: Millis,
    /// By what, in the words of RFC 8176.
    pub amr: Vec<String>,
}

/// How long a superseded refresh token still gets the answer that superseded it: tabs that refresh at the same time.
pub const REPEAT_MS: i64 = 10_000;

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refreshed {
    /// It was the good one, or was until a moment ago: its successor is.
    Good {
        /// Whose session it is.
        user: UserId,
        /// When that user proved who it is.
        auth_time: Millis,
        /// How.
        amr: Vec<String>,
    },
    /// It had been used up: the session was ended, since somebody else may hold its tokens.
    Reused,
}

/// An open session, for lists.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// When it was opened.
    pub created: Millis,
    /// When its user last proved who it is.
    pub auth_time: Millis,
    /// When it was last used, to a minute or two.
    pub seen: Millis,
    /// How the user proved who it is.
    pub amr: Vec<String>,
    /// Where it was last refreshed from.
    pub address: Option<String>,
    /// What the client said that it is.
    pub agent: Option<String>,
}
