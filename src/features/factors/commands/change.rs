//! Changing and removing factors.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{end_others, enrol::insert_recovery, owner};
use crate::{
    cluster::{Apply, Command, Kind},
    features::{
        factors::{
            model::{By, Method},
            queries,
        },
        sessions,
    },
    kernel::{FactorId, Permission, Refusal, UserId},
    store::Stop,
};

/// A user calls a factor something else.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenameFactor {
    /// The factor.
    pub factor: FactorId,
    /// Its new name.
    pub name: String,
}

impl Command for RenameFactor {
    const KIND: Kind = Kind::new("factors.rename", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = owner(cx, &By::Session)?;

        let row = (self.factor.to_string(), user.to_string(), &self.name);
        let renamed = cx.tx.prepare_cached(RENAME_TOTP)?.execute(row)?;
        let row = (self.factor.to_string(), user.to_string(), &self.name);
        let renamed = renamed + cx.tx.prepare_cached(RENAME_PASSKEY)?.execute(row)?;
        if renamed == 0 {
            return Err(Refusal::NotFound.into());
        }

        cx.note("factor", self.factor, json!({ "user": user, "renamed": true }));
        Ok(())
    }
}

/// A user gives a factor up.
#[derive(Debug, Serialize, Deserialize)]
pub struct RemoveFactor {
    /// The factor.
    pub factor: FactorId,
}

impl Command for RemoveFactor {
    const KIND: Kind = Kind::new("factors.remove", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = owner(cx, &By::Session)?;

        let (id, owner) = (self.factor.to_string(), user.to_string());
        let removed = cx.tx.prepare_cached(REMOVE_TOTP)?.execute((&id, &owner))?;
        let removed = removed + cx.tx.prepare_cached(REMOVE_PASSKEY)?.execute((&id, &owner))?;
        if removed == 0 {
            return Err(Refusal::NotFound.into());
        }
        let left = queries::methods(cx.tx, user)?;
        if left.iter().all(|method| *method == Method::RecoveryCode) {
            if queries::must_have(cx.tx, user)? {
                return Err(Refusal::WrongState { state: "last_factor".to_owned() }.into());
            }
            cx.tx.prepare_cached(REMOVE_RECOVERY)?.execute([&owner])?;
        }

        cx.note("factor", self.factor, json!({ "user": user, "removed": true }));
        end_others(cx, user)
    }
}

/// A user gets new recovery codes in place of those before.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewRecoveryCodes {
    /// Their digests.
    pub digests: Vec<String>,
}

impl Command for RenewRecoveryCodes {
    const KIND: Kind = Kind::new("factors.renew_recovery_codes", 1);
    const NEEDS: Permission = Permission::OwnAccount;
    /// How many of those before were left.
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let user = owner(cx, &By::Session)?;
        let before = queries::recovery_codes_left(cx.tx, user)?;

        let others = queries::methods(cx.tx, user)?;
        if others.iter().all(|method| *method == Method::RecoveryCode) {
            return Err(Refusal::WrongState { state: "no_factor".to_owned() }.into());
        }

        cx.tx.prepare_cached(REMOVE_RECOVERY)?.execute([user.to_string()])?;
        insert_recovery(cx, user, &self.digests)?;

        cx.note("user", user, json!({ "recovery_codes": [before, self.digests.len()] }));
        end_others(cx, user)?;
        Ok(before)
    }
}

/// An administrator takes every factor from a user who has lost them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResetFactors {
    /// The user.
    pub user: UserId,
}

impl Command for ResetFactors {
    const KIND: Kind = Kind::new("factors.reset", 1);
    const NEEDS: Permission = Permission::MfaReset;
    const STEP_UP: bool = true;
    /// How many factors there were.
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let user = self.user.to_string();
        if !cx.tx.prepare_cached(EXISTS)?.query_row([&user], |row| row.get::<_, bool>(0))? {
            return Err(Refusal::NotFound.into());
        }

        let mut removed = 0;
        for statement in [RESET_TOTP, RESET_PASSKEYS] {
            removed += cx.tx.prepare_cached(statement)?.execute([&user])?;
        }
        let codes = cx.tx.prepare_cached(REMOVE_RECOVERY)?.execute([&user])?;
        cx.tx.prepare_cached(FORGET_ATTEMPTS)?.execute([&user])?;

        cx.note("user", &user, json!({ "factors": removed, "recovery_codes": codes }));
        sessions::end_all(cx, self.user, None, "mfa_reset")?;
        Ok(removed)
    }
}

const RENAME_TOTP: &str = "UPDATE factors_totp SET name = ?3 WHERE id = ?1 AND user_id = ?2";
const RENAME_PASSKEY: &str = "UPDATE factors_passkeys SET name = ?3 WHERE id = ?1 AND user_id = ?2";
const REMOVE_TOTP: &str = "DELETE FROM factors_totp WHERE id = ?1 AND user_id = ?2";
const REMOVE_PASSKEY: &str = "DELETE FROM factors_passkeys WHERE id = ?1 AND user_id = ?2";
const REMOVE_RECOVERY: &str = "DELETE FROM factors_recovery WHERE user_id = ?1";
const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM identity_users WHERE id = ?1)";
const RESET_TOTP: &str = "DELETE FROM factors_totp WHERE user_id = ?1";
const RESET_PASSKEYS: &str = "DELETE FROM factors_passkeys WHERE user_id = ?1";
const FORGET_ATTEMPTS: &str = "UPDATE factors_users SET attempts = 0 WHERE user_id = ?1";
