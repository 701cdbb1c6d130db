//! Ids: UUIDv7 text at every border, one type per thing so that they cannot be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);
        id!(@text $name);
    };
    (@text $name:ident) => {
        impl fmt::Display for $name { fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(out) } }
        impl FromStr for $name { type Err = uuid::Error; fn from_str(text: &str) -> Result<Self, uuid::Error> { Ok(Self(Uuid::try_parse(text)?)) } }
    };
}

id!(OrgId, "Names an organization, and with it its file.");
id!(UserId, "Names a user within its organization.");
id!(RequestId, "Names a proposal; a repeated one is answered with the remembered reply.");
id!(SessionId, "Names a session.");
id!(FactorId, "Names a second factor of a user.");
id!(JobId, "Names an import job.");
id!(EventId, "Names an audit event.");
id!(OutboxId, "Names an effect that travels from one file to another.");
id!(RoleId, "Names a custom role.");
id!(GroupId, "Names a group of users.");
id!(GrantId, "Names a direct grant or denial.");
id!(PolicyId, "Names a policy.");
id!(RecordId, "Names an investigation, a case or an activity.");
id!(NoteId, "Names a note in an investigation.");
id!(TokenId, "Names a one-time join token.");

impl OrgId {
    /// The organization `system`: platform administrators and the registry live in its file.
    pub const SYSTEM: Self = Self(Uuid::nil());

    /// Whether this is the organization `system`.
    pub fn is_system(self) -> bool {
        self == Self::SYSTEM
    }
}

/// Names a replicated file: `system.db`, or `tenants/<organization id>.db`.
pub type FileId = OrgId;
