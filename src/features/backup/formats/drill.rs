//! What a drill found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    kernel::{FileId, Millis},
    store::Sum,
};

/// A restore into scratch, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Names it in the trail.
    pub id: Uuid,
    /// The target it restored from.
    pub target: String,
    /// The history.
    pub lineage: Uuid,
    /// The index that was restored.
    pub index: u64,
    /// Milliseconds between the newest moment that could be restored and the beginning of the drill.
    pub rpo_ms: i64,
    /// Milliseconds that it took.
    pub rto_ms: i64,
    /// Bytes fetched.
    pub bytes: u64,
    /// Each file that was restored.
    pub files: BTreeMap<FileId, Tested>,
    /// Why nothing was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A file of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// Index of its last entry.
    pub mark: u64,
    /// The sum of its rows, read anew.
    pub sum: Sum,
    /// What was wrong: its rows are not those on record, or not those of the live file at that entry, or its audit trail
    /// does not hold together or is not the beginning of the live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
    /// At which moment it was compared with the live file, if both passed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<Millis>,
    /// Its audit trail, computed anew from the first event on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<Proven>,
}

/// An audit trail that was restored and holds together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// Events.
    pub events: i64,
    /// The head of their chain (hexadecimal): who has it can tell these events from any others.
    pub head: String,
}

impl Drill {
    /// Whether everything was as it should be.
    pub fn passed(&self) -> bool {
        self.wrong().is_none()
    }

    /// What was found first that is not as it should be.
    pub fn wrong(&self) -> Option<String> {
        let wrong =
            |(file, tested): (&FileId, &Tested)| Some(format!("file {file}: {}", tested.wrong.as_ref()?));
        self.failed.clone().or_else(|| self.files.iter().find_map(wrong))
    }
}
