//! The outbox: effects that travel from one file to another, exactly once.
//!
//! The first file's transaction writes the row. Whoever comes first (the handler that waits for the
//! effect, or the leader's job) proposes it to the other file under the row's own id, so that twice is
//! once, and then has the row forgotten.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Apply, Cluster, Command, Kind, Outcome, Sent, Ticket, Trail, Unanswered};
use crate::{
    kernel::{Actor, Fault, Millis, OrgId, OutboxId, Permission, Refusal},
    store::Stop,
};

/// An effect that has arrived.
pub struct Delivered {
    /// What the other file decided.
    pub outcome: Outcome,
    /// Index of the entry that decided it.
    pub index: u64,
}

/// Writes the effects of one command, in its transaction.
pub fn store_sent(tx: &Connection, at: Millis, sent: &[(OutboxId, Sent)]) -> Result<(), Stop> {
    for (id, effect) in sent {
        tx.prepare_cached(INSERT)?.execute((id.to_string(), at.0, serde_json::to_string(effect)?))?;
    }
    Ok(())
}

fn pending_one(tx: &Connection, id: OutboxId) -> Result<Option<Sent>, Fault> {
    let row: Option<String> =
        tx.prepare_cached(SELECT_ONE)?.query_row([id.to_string()], |row| row.get(0)).optional()?;
    row.map(|text| {
        serde_json::from_str(&text).map_err(|error| Fault::new(format!("read outbox row {id}"), error))
    })
    .transpose()
}

/// The effects that wait in a file, oldest first.
pub fn pending(tx: &Connection) -> Result<Vec<(OutboxId, Sent)>, Fault> {
    let mut statement = tx.prepare_cached(SELECT)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, proposal) = row?;
        let broken = |error: &dyn std::fmt::Display| Fault::found(format!("outbox row {id}: {error}"));
        let key = id.parse().map_err(|error| broken(&error))?;
        Ok((key, serde_json::from_str(&proposal).map_err(|error| broken(&error))?))
    })
    .collect()
}

/// Whether an effect waits that was sent before `at`.
pub fn pending_since(tx: &Connection, at: Millis) -> Result<bool, Fault> {
    Ok(tx.prepare_cached(WAITS)?.query_row([at.0], |row| row.get(0))?)
}

impl Cluster {
    /// Delivers one effect of `from`, if it still waits there.
    pub async fn deliver(&self, from: OrgId, id: OutboxId, effect: Sent) -> Result<Delivered, Unanswered> {
        let ticket = Ticket::delivering(id, effect.actor.clone());
        let (to, may_be_gone) = (effect.to, effect.may_be_gone);
        let (outcome, index) = self.propose_sent(&ticket, effect).await?;
        if outcome.refusal() == Some(&Refusal::NotFound) && !self.store().exists(to) && !may_be_gone {
            // Its file is still on the way: the row stays, and the job tries again.
            return Ok(Delivered { outcome, index });
        }
        self.propose(&Ticket::delivering(id, Actor::System).step("forget"), from, &ForgetSent { id }).await?;
        Ok(Delivered { outcome, index })
    }

    /// Delivers one effect of `from` and answers what the other file decided, whoever delivered it.
    pub async fn await_delivery(
        &self,
        from: OrgId,
        id: OutboxId,
        to: OrgId,
    ) -> Result<Delivered, Unanswered> {
        let waiting =
            self.read(&super::View::Session(None), from, move |tx| pending_one(tx, id)).await?.flatten();
        if let Some(effect) = waiting {
            return self.deliver(from, id, effect).await;
        }
        // The job was quicker. The request id is answered by now: asking again finds the answer.
        let probe = Sent::new(to, None, Actor::System, &ForgetSent { id })
            .map_err(|error| Unanswered::Broken(Fault::new("write a command", error)))?;
        let (outcome, index) = self.propose_sent(&Ticket::delivering(id, Actor::System), probe).await?;
        Ok(Delivered { outcome, index })
    }

    /// Delivers everything that waits in `from`, oldest first.
    pub async fn deliver_all(&self, from: OrgId) -> Result<(), Unanswered> {
        for (id, effect) in self.read(&super::View::Local, from, pending).await?.unwrap_or_default() {
            self.deliver(from, id, effect).await?;
        }
        Ok(())
    }
}

/// Forgets an effect that has arrived.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForgetSent {
    /// The effect.
    pub id: OutboxId,
}

impl Command for ForgetSent {
    const KIND: Kind = Kind::new("spine.forget_sent", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        cx.tx.prepare_cached(DELETE)?.execute([self.id.to_string()])?;
        Ok(())
    }
}

const INSERT: &str = "INSERT INTO spine_outbox (id, at_ms, proposal) VALUES (?1, ?2, ?3)";
const SELECT: &str = "SELECT id, proposal FROM spine_outbox ORDER BY at_ms, id LIMIT 100";
const WAITS: &str = "SELECT EXISTS (SELECT 1 FROM spine_outbox WHERE at_ms <= ?1)";
const SELECT_ONE: &str = "SELECT proposal FROM spine_outbox WHERE id = ?1";
const DELETE: &str = "DELETE FROM spine_outbox WHERE id = ?1";
