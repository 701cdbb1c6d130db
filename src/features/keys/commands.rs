//! A rotation begins, and goes from step to step.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::queries;
use crate::{
    cluster::{Apply, Command, Kind},
    kernel::{Fault, Permission, Refusal},
    store::{Generation, Stop, WrappedKey},
};

/// How far a generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Members are taking its key in.
    Wanted,
    /// Every member holds it and seals under it; what older ones sealed is being sealed anew.
    Active,
    /// Nothing is sealed under an older one, and older ones are forgotten.
    Settled,
}

impl Step {
    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Active => "active",
            Self::Settled => "settled",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Wanted, Self::Active, Self::Settled].into_iter().find(|step| step.name() == name)
    }
}

/// The cluster key is to be rotated. In the system file; answers the new generation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rotate {}

impl Command for Rotate {
    const KIND: Kind = Kind::new("keys.rotate", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    type Reply = Generation;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Generation, Stop> {
        let newest = queries::newest(cx.tx)?;

        if newest.step != Step::Settled {
            return Err(Refusal::WrongState { state: "rotating".to_owned() }.into());
        }

        let generation = newest.generation.saturating_add(1);
        cx.tx.prepare_cached(INSERT)?.execute((generation, Step::Wanted.name(), cx.at.0))?;

        cx.note("cluster_key", generation, json!({ "step": Step::Wanted }));
        Ok(generation)
    }
}

/// A generation has come a step further.
#[derive(Debug, Serialize, Deserialize)]
pub struct Advance {
    /// Which.
    pub generation: Generation,
    /// To where.
    pub to: Step,
    /// Digest of its key, as every member told it.
    pub digest: String,
}

impl Command for Advance {
    const KIND: Kind = Kind::new("keys.advance", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let newest = queries::newest(cx.tx)?;

        let next =
            matches!((newest.step, self.to), (Step::Wanted, Step::Active) | (Step::Active, Step::Settled));
        if newest.generation != self.generation || !next {
            return Err(Refusal::WrongState { state: newest.step.name().to_owned() }.into());
        }

        cx.tx.prepare_cached(ADVANCE)?.execute((self.generation, self.to.name(), cx.at.0, &self.digest))?;

        cx.note("cluster_key", self.generation, json!({ "step": self.to, "digest": self.digest }));
        Ok(())
    }
}

/// A file gets another data key: entries after this one are sealed under it, and every node encrypts its pages anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rekey {
    /// Number of the new key, one above the present.
    pub number: u32,
    /// The key, wrapped.
    pub key: WrappedKey,
}

impl Command for Rekey {
    const KIND: Kind = Kind::new("keys.rekey", 1);
    const NEEDS: Permission = Permission::OrganizationPlan;
    type Reply = u32;

    fn apply(self, cx: &mut Apply<'_>) -> Result<u32, Stop> {
        let present = queries::data_key(cx.tx)?;

        if self.number != present.saturating_add(1) {
            return Err(Refusal::WrongState { state: format!("key_{present}") }.into());
        }

        cx.tx.prepare_cached(SET_DATA_KEY)?.execute([self.number])?;

        cx.note("data_key", self.number, json!({ "number": { "before": present, "after": self.number } }));
        cx.change_key(self.number, self.key);
        Ok(self.number)
    }
}

/// Gives a file that was made from a backup the number of the key of the one whose place it takes.
pub fn keep_data_key(restored: &Connection, present: &Connection) -> Result<(), Fault> {
    restored.prepare_cached(SET_DATA_KEY)?.execute([queries::data_key(present)?])?;
    Ok(())
}

const SET_DATA_KEY: &str = "UPDATE spine_state SET data_key = ?1 WHERE one = 1";
const INSERT: &str = "INSERT INTO keys_generations (generation, step, at_ms) VALUES (?1, ?2, ?3)";
const ADVANCE: &str = "UPDATE keys_generations SET step = ?2, at_ms = ?3, digest = ?4 WHERE generation = ?1";
