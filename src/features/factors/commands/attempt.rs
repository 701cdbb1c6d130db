//! Attempts are counted before they are looked at, so that a thousand at once are not a thousand guesses.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::oneself;
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    features::factors::{
        model::{Method, delay_ms},
        queries,
    },
    kernel::{Permission, Refusal, UserId},
    store::Stop,
};

/// A user is about to show a code. Refused while there were too many in a row that did not hold.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The user.
    pub user: UserId,
}

impl Command for Attempt {
    const KIND: Kind = Kind::new("factors.attempt", 1);
    const NEEDS: Permission = Permission::Anyone;
    /// What becomes of the attempt is the event.
    const TRAIL: Trail = Trail::Silent;
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        let user = oneself(cx, self.user)?;
        let before = queries::attempts(cx.tx, user)?;

        let next = before.latest.plus(delay_ms(before.count));
        if cx.at < next {
            let retry_after_seconds = (next.0 - cx.at.0).div_euclid(1000) + 1;
            return Err(Refusal::TooManyAttempts { retry_after_seconds }.into());
        }

        let count = before.count.saturating_add(1);
        cx.tx.prepare_cached(COUNT)?.execute((user.to_string(), count, cx.at.0))?;
        Ok(count)
    }
}

/// A user showed a code that does not hold.
#[derive(Debug, Serialize, Deserialize)]
pub struct RefuseProof {
    /// The user.
    pub user: UserId,
    /// What was shown.
    pub method: Method,
}

impl Command for RefuseProof {
    const KIND: Kind = Kind::new("factors.refuse_proof", 1);
    const NEEDS: Permission = Permission::Anyone;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let user = oneself(cx, self.user)?;
        let count = queries::attempts(cx.tx, user)?.count;

        cx.note("user", user, json!({ "proof": "refused", "method": self.method, "in_a_row": count }));
        Ok(())
    }
}

const COUNT: &str = "INSERT INTO factors_users (user_id, attempts, attempted_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (user_id) DO UPDATE SET attempts = excluded.attempts, attempted_ms = excluded.attempted_ms";
