//! New passwords: chosen by whoever knows the old one, by whoever has a link, or demanded.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    find,
    links::{Purpose, spend},
    require_rank,
};
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::{
        identity::{
            model::{State, User},
            queries,
        },
        sessions,
    },
    kernel::{Permission, Refusal, UserId},
    store::Stop,
};

/// A user who has proven its old password has another one from now on. Its other sessions end.
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangePassword {
    /// The hash against which the old password was checked at the edge.
    pub old_hash: String,
    /// Hash of the new one.
    pub new_hash: String,
}

impl Command for ChangePassword {
    const KIND: Kind = Kind::new("identity.change_password", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let login = cx.actor.user().map(|user| queries::by_user(cx.tx, user)).transpose()?.flatten();
        let login = login.ok_or(Refusal::NotFound)?;
        // Changed by another request since it was checked.
        if login.password_hash.as_ref() != Some(&self.old_hash) {
            return Err(Refusal::WrongState { state: "password_changed".to_owned() }.into());
        }
        let own = cx.actor.session();

        write(cx, &login.user, &self.new_hash)?;

        cx.note("user", login.user.id, json!({ "password": "changed" }));
        sessions::end_all(cx, login.user.id, own, "password_changed")?;
        Ok(())
    }
}

/// Somebody with a link chooses a new password. All its sessions end; its other factors are asked for as before.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResetPassword {
    /// Digest of the link's secret.
    pub digest: String,
    /// Hash of the new password.
    pub new_hash: String,
}

impl Command for ResetPassword {
    const KIND: Kind = Kind::new("identity.reset_password", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let (user, _) = spend(cx, &self.digest, Purpose::Password)?;
        if user.state == State::Invited {
            return Err(Refusal::LinkInvalid.into());
        }

        write(cx, &user, &self.new_hash)?;

        cx.note("user", user.id, json!({ "password": "reset" }));
        sessions::end_all(cx, user.id, None, "password_reset")?;
        Ok(())
    }
}

fn write(cx: &mut Apply<'_>, user: &User, hash: &str) -> Result<(), Stop> {
    cx.tx.prepare_cached(SET)?.execute((user.id.to_string(), hash, cx.at.0))?;
    Ok(())
}

/// A user must choose a new password before it gets a session again. Its sessions end.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequirePassword {
    /// Who.
    pub id: UserId,
}

impl Command for RequirePassword {
    const KIND: Kind = Kind::new("identity.require_password", 1);
    const NEEDS: Permission = Permission::UserManage;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = find(cx, self.id)?;
        require_rank(cx, user.role)?;

        cx.tx.prepare_cached(REQUIRE)?.execute((self.id.to_string(), cx.at.0))?;

        cx.note("user", self.id, json!({ "must_change_password": true }));
        sessions::end_all(cx, self.id, None, "password_required")?;
        Ok(())
    }
}

/// The same password is hashed at the cost that is asked for now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rehash {
    /// Whose.
    pub id: UserId,
    /// The hash that it was checked against.
    pub old_hash: String,
    /// Its hash at the present cost.
    pub new_hash: String,
}

impl Command for Rehash {
    const KIND: Kind = Kind::new("identity.rehash", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.tx.prepare_cached(REHASH)?.execute((self.id.to_string(), self.old_hash, self.new_hash))?;
        Ok(())
    }
}

const SET: &str = "UPDATE identity_users SET password_hash = ?2, must_change_password = 0, updated_ms = ?3,
    version = version + 1 WHERE id = ?1";
const REQUIRE: &str =
    "UPDATE identity_users SET must_change_password = 1, updated_ms = ?2, version = version + 1
    WHERE id = ?1";
const REHASH: &str = "UPDATE identity_users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2";
