//! Outcomes: what apply decided, as it is remembered and sent back.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::Unanswered;
use crate::kernel::{Fault, Refusal};

/// The reply of a node that must not say what became of an entry, since its copy of the file may be wrong. Whoever
/// asks again may learn it from another node. No outcome looks like it.
pub const WITHHELD: &[u8] = b"withheld";

/// What apply decided about one entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The reply or the refusal. Not flattened: serde cannot flatten a raw value, and reading it back would fail.
    pub verdict: Verdict,
    /// Whether the verdict is a remembered one.
    #[serde(default)]
    pub replayed: bool,
}

/// The reply or the refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Kept; the command's reply.
    Ok(Box<RawValue>),
    /// The rules said no.
    Refused(Refusal),
}

impl Outcome {
    /// A reply.
    pub fn ok(reply: Box<RawValue>) -> Self {
        Self { verdict: Verdict::Ok(reply), replayed: false }
    }

    /// A refusal.
    pub fn refused(refusal: Refusal) -> Self {
        Self { verdict: Verdict::Refused(refusal), replayed: false }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.verdict {
            Verdict::Ok(_) => None,
            Verdict::Refused(refusal) => Some(refusal),
        }
    }

    /// The typed answer.
    pub fn answer<R: DeserializeOwned>(self, index: u64) -> Result<Answer<R>, Unanswered> {
        match self.verdict {
            Verdict::Refused(refusal) => Err(Unanswered::Refused { refusal, replayed: self.replayed }),
            Verdict::Ok(reply) => {
                let reply = serde_json::from_str(reply.get())
                    .map_err(|error| Unanswered::Broken(Fault::new("read a reply", error)))?;
                Ok(Answer { reply, index, replayed: self.replayed })
            }
        }
    }
}

/// A command's reply, and where in the log it came from.
#[derive(Clone, Debug)]
pub struct Answer<R> {
    /// The reply.
    pub reply: R,
    /// Index of the entry that answered.
    pub index: u64,
    /// Whether it is a remembered reply.
    pub replayed: bool,
}
