//! A rotation begins, and goes from step to step.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::queries;
use crate::{
    cluster::{Apply, Command, Kind},
    kernel::{Permission, Refusal},
    store::{Generation, Stop},
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

const INSERT: &str = "INSERT INTO keys_generations (generation, step, at_ms) VALUES (?1, ?2, ?3)";
const ADVANCE: &str = "UPDATE keys_generations SET step = ?2, at_ms = ?3, digest = ?4 WHERE generation = ?1";
