//! Why an apply stopped before its end.

use crate::kernel::{Fault, Refusal};

/// Why an apply stopped before its end. `?` works for both inside apply.
#[derive(Debug)]
pub enum Stop {
    /// The rules said no. Same verdict on every node; recorded, then answered.
    Refused(Refusal),
    /// This node failed. No verdict exists; the node must halt, not answer.
    Broken(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

/// SQLite failing inside apply says nothing about the command: the node is at fault.
impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(Fault::new("run a statement in apply", error))
    }
}

/// What apply stores as JSON it also reads: a failure is a broken file or a bug, never a verdict.
impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(Fault::new("read or write JSON in apply", error))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::new("run a statement", error)
    }
}
