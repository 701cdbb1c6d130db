//! Invitations, and links to a new password.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    find, may_approve, move_to,
    people::{add, administers},
};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        access,
        identity::{
            model::{NewUser, State, User},
            queries,
        },
    },
    kernel::{Millis, Permission, Refusal, UserId},
    store::Stop,
};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To come in for the first time.
    Invitation,
    /// To choose a new password.
    Password,
}

impl Purpose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Password => "password",
        }
    }
}

/// Writes a link for `user` down in the place of any before it. Answers when it ends.
pub fn issue_link(
    cx: &mut Apply<'_>,
    user: UserId,
    purpose: Purpose,
    digest: &str,
    lasts_ms: i64,
) -> Result<Millis, Stop> {
    let (user, expires) = (user.to_string(), cx.at.plus(lasts_ms));
    let approved = may_approve(cx)?;
    cx.tx.prepare_cached(FORGET_EXPIRED)?.execute([cx.at.0])?;
    cx.tx.prepare_cached(FORGET)?.execute((&user, purpose.name()))?;
    cx.tx.prepare_cached(INSERT)?.execute((digest, &user, purpose.name(), approved, expires.0))?;
    Ok(expires)
}

/// Takes the link with this digest out, if it is for `purpose` and has not ended: it is used up, whatever happens.
pub(super) fn spend(cx: &mut Apply<'_>, digest: &str, purpose: Purpose) -> Result<(User, bool), Stop> {
    let link = queries::link(cx.tx, digest)?
        .filter(|link| link.purpose == purpose.name() && link.expires > cx.at)
        .ok_or(Refusal::LinkInvalid)?;
    cx.tx.prepare_cached(FORGET)?.execute((link.user.to_string(), purpose.name()))?;
    Ok((find(cx, link.user)?, link.approved))
}

/// Invites somebody: a user who may log in once the link has been used.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invite {
    /// Who.
    pub user: NewUser,
    /// Digest of the link's secret.
    pub digest: String,
    /// How long the link holds.
    pub lasts_ms: i64,
}

/// A link that was written down.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// Whom it is for.
    pub user: UserId,
    /// When it ends.
    pub expires: Millis,
}

impl Command for Invite {
    const KIND: Kind = Kind::new("identity.invite", 1);
    const NEEDS: Permission = Permission::TeamMemberManage;
    type Reply = Issued;

    fn steps_up(&self) -> bool {
        administers(self.user.role)
    }

    fn apply(self, cx: &mut Apply<'_>) -> Result<Issued, Stop> {
        access::require_may_give_role(cx, self.user.role)?;
        add(cx, &self.user, State::Invited)?;
        let expires = issue_link(cx, self.user.id, Purpose::Invitation, &self.digest, self.lasts_ms)?;
        Ok(Issued { user: self.user.id, expires })
    }
}

/// Makes a new link for somebody who was invited, or for somebody who needs a new password.
#[derive(Debug, Serialize, Deserialize)]
pub struct IssueLink {
    /// Who.
    pub id: UserId,
    /// What for.
    pub purpose: Purpose,
    /// Digest of the link's secret.
    pub digest: String,
    /// How long the link holds.
    pub lasts_ms: i64,
}

impl Command for IssueLink {
    const KIND: Kind = Kind::new("identity.issue_link", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = Issued;

    fn steps_up(&self) -> bool {
        self.purpose == Purpose::Password
    }

    fn apply(self, cx: &mut Apply<'_>) -> Result<Issued, Stop> {
        let user = find(cx, self.id)?;
        access::require_may_give_role(cx, user.role)?;
        if (self.purpose == Purpose::Invitation) != (user.state == State::Invited) {
            return Err(Refusal::WrongState { state: user.state.name().to_owned() }.into());
        }

        let expires = issue_link(cx, self.id, self.purpose, &self.digest, self.lasts_ms)?;

        let changes = json!({ "link": self.purpose, "expires_at": expires.to_string() });
        cx.note("user", self.id, changes);
        Ok(Issued { user: self.id, expires })
    }
}

/// Somebody who was invited comes in, or waits for an approval.
#[derive(Debug, Serialize, Deserialize)]
pub struct Accept {
    /// Digest of the link's secret.
    pub digest: String,
    /// Hash of the password that was chosen.
    pub password_hash: String,
    /// Given name, if it is to be another than the invitation said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Family name, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
}

impl Command for Accept {
    const KIND: Kind = Kind::new("identity.accept", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = State;

    fn apply(self, cx: &mut Apply<'_>) -> Result<State, Stop> {
        let (user, approved) = spend(cx, &self.digest, Purpose::Invitation)?;
        if user.state != State::Invited {
            return Err(Refusal::LinkInvalid.into());
        }
        let waits = queries::house(cx.tx)?.require_approval_for_new_users && !approved;
        let state = if waits { State::Pending } else { State::Active };

        move_to(cx, &user, state)?;
        let first_name = self.first_name.unwrap_or(user.first_name);
        let last_name = self.last_name.unwrap_or(user.last_name);
        let row = (user.id.to_string(), self.password_hash, first_name, last_name);
        cx.tx.prepare_cached(ENTER)?.execute(row)?;

        cx.note("user", user.id, json!({ "state": [user.state, state] }));
        Ok(state)
    }
}

const FORGET_EXPIRED: &str = "DELETE FROM identity_links WHERE expires_ms <= ?1";
const FORGET: &str = "DELETE FROM identity_links WHERE user_id = ?1 AND purpose = ?2";
const INSERT: &str = "INSERT INTO identity_links (digest, user_id, purpose, approved, expires_ms)
    VALUES (?1, ?2, ?3, ?4, ?5)";
const ENTER: &str =
    "UPDATE identity_users SET password_hash = ?2, first_name = ?3, last_name = ?4 WHERE id = ?1";
