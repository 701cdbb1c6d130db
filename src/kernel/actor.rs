//! Who did it: a *caller* at the edge becomes an *actor* in the log.

use serde::{Deserialize, Serialize};

use super::{OrgId, Role, SessionId, UserId};

/// Who a command is done for. Its permissions are decided in apply, from rows of the command's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// The installation itself: bootstrap, jobs, the outbox.
    System,
    /// Somebody who has not logged in.
    Anonymous,
    /// A platform administrator. Operates the installation; reads no organization's content.
    Platform {
        /// The administrator's user in the system file.
        user: UserId,
        /// The session it acts in: once that has ended, nothing is decided for it any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    /// A user of an organization.
    User {
        /// The organization the user belongs to.
        organization: OrgId,
        /// The user.
        user: UserId,
        /// The role at home, which counts only in files of *other* organizations that granted it.
        role: Role,
        /// The session it acts in, at home: once that has ended, nothing is decided for it there any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
}

impl Actor {
    /// Short word for logs and audit events.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Anonymous => "anonymous",
            Self::Platform { .. } => "platform_admin",
            Self::User { .. } => "user",
        }
    }

    /// The organization that it belongs to, whose file holds its session; `system` for platform administrators.
    pub fn home(&self) -> Option<OrgId> {
        match self {
            Self::System | Self::Anonymous => None,
            Self::Platform { .. } => Some(OrgId::SYSTEM),
            Self::User { organization, .. } => Some(*organization),
        }
    }

    /// The user behind the actor, if there is one.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::System | Self::Anonymous => None,
            Self::Platform { user, .. } | Self::User { user, .. } => Some(*user),
        }
    }

    /// The session it acts in, if it is one that was logged in to.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::System | Self::Anonymous => None,
            Self::Platform { session, .. } | Self::User { session, .. } => *session,
        }
    }
}

/// Where a request came from. Personal data: kept beside the audit leaf, never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Address of the peer that connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// What the client says it is, cut to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}
