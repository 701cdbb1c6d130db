//! What ends by itself, and what ends with a user.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    cluster::{Apply, Command, Kind},
    features::access::model::Subject,
    kernel::{Fault, Permission, UserId},
    store::Stop,
};

/// Removes grants and holdings that have expired. Decisions ignored them already: this is for whoever reads the lists.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForgetExpired {
    /// Rows of each kind at most.
    pub limit: u32,
}

impl Command for ForgetExpired {
    const KIND: Kind = Kind::new("access.forget_expired", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = usize;

    fn apply(self, cx: &mut Apply<'_>) -> Result<usize, Stop> {
        let tx = cx.tx;
        let mut statement = tx.prepare_cached(EXPIRED_GRANTS)?;
        let grants = statement.query_map((cx.at.0, self.limit), |row| row.get(0))?;
        let grants = grants.collect::<Result<Vec<String>, _>>()?;
        let mut statement = tx.prepare_cached(EXPIRED_HOLDINGS)?;
        let holdings = statement.query_map((cx.at.0, self.limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let holdings = holdings.collect::<Result<Vec<(String, String)>, _>>()?;

        for id in &grants {
            tx.prepare_cached(DELETE_GRANT)?.execute([id])?;
        }
        for holding in &holdings {
            tx.prepare_cached(DELETE_HOLDING)?.execute((&holding.0, &holding.1))?;
        }

        cx.touch_access();
        let holders: Vec<_> =
            holdings.iter().map(|(subject, role)| json!({ "subject": subject, "role": role })).collect();
        cx.note("access", "expired", json!({ "grants": grants, "holdings": holders }));
        Ok(grants.len() + holdings.len())
    }
}

/// Forgets all that was given to or taken from a user, inside the command that deletes it.
pub fn forget_user(cx: &mut Apply<'_>, user: UserId) -> Result<(), Stop> {
    forget_subject(cx.tx, user)?;
    cx.touch_access();
    Ok(())
}

/// Takes everything back that was given to a user, in a file that nobody is answered from yet.
pub fn forget_subject(tx: &Connection, user: UserId) -> Result<(), Fault> {
    let subject = Subject::User(user).to_string();
    tx.prepare_cached(DELETE_MEMBERSHIPS)?.execute([user.to_string()])?;
    tx.prepare_cached(DELETE_HOLDINGS_OF)?.execute([&subject])?;
    tx.prepare_cached(DELETE_GRANTS_OF)?.execute([&subject])?;
    Ok(())
}

const EXPIRED_GRANTS: &str =
    "SELECT id FROM access_grants WHERE expires_ms <= ?1 ORDER BY expires_ms, id LIMIT ?2";
const EXPIRED_HOLDINGS: &str = "SELECT subject, role FROM access_holdings WHERE expires_ms <= ?1
    ORDER BY expires_ms, subject, role LIMIT ?2";
const DELETE_GRANT: &str = "DELETE FROM access_grants WHERE id = ?1";
const DELETE_HOLDING: &str = "DELETE FROM access_holdings WHERE subject = ?1 AND role = ?2";
const DELETE_MEMBERSHIPS: &str = "DELETE FROM access_members WHERE user_id = ?1";
const DELETE_HOLDINGS_OF: &str = "DELETE FROM access_holdings WHERE subject = ?1";
const DELETE_GRANTS_OF: &str = "DELETE FROM access_grants WHERE subject = ?1";
