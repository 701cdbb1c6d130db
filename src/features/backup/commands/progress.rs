//! How far a target is, and what drills found.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::formats::Drill;
use crate::{
    cluster::{Apply, Command, Kind, Trail},
    kernel::{Fault, Millis, Permission, Refusal},
    store::Stop,
};

/// Drills that are remembered: three years of one a day.
const DRILLS_MAX: u32 = 1_100;

/// How far a target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every entry up to this one is in its archive.
    pub archived: u64,
    /// The moment to which the cluster can be restored from it.
    pub archived_at: Option<Millis>,
    /// The newest catalogue holds everything up to this entry.
    pub cut: u64,
    /// When that was put.
    pub cut_at: Option<Millis>,
    /// What fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// What one uploader has put since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// When it was started.
    pub since: Millis,
    /// Requests that write.
    pub requests: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Its uploader says how far a target is.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoteProgress {
    /// The target.
    pub target: String,
    /// How far.
    pub progress: Progress,
}

impl Command for NoteProgress {
    const KIND: Kind = Kind::new("backup.note_progress", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let Progress { archived, archived_at, cut, cut_at, failing } = self.progress;
        let (archived, cut) = (number(archived)?, number(cut)?);

        let (archived_at, cut_at) = (archived_at.map(|at| at.0), cut_at.map(|at| at.0));
        let row = (&self.target, archived, archived_at, cut, cut_at, cx.at.0, failing);
        if cx.tx.prepare_cached(UPDATE)?.execute(row)? == 0 {
            return Err(Refusal::NotFound.into());
        }
        Ok(())
    }
}

/// A drill is over.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecordDrill {
    /// What it found.
    pub drill: Drill,
}

impl Command for RecordDrill {
    const KIND: Kind = Kind::new("backup.record_drill", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = ();

    fn apply(self, cx: &mut Apply<'_>) -> Result<(), Stop> {
        let text = serde_json::to_string(&self.drill).map_err(|error| Fault::new("write a drill", error))?;
        let passed = self.drill.passed();

        cx.tx.prepare_cached(INSERT_DRILL)?.execute((self.drill.id.to_string(), cx.at.0, passed, text))?;
        cx.tx.prepare_cached(FORGET_DRILLS)?.execute([DRILLS_MAX])?;
        cx.tx.prepare_cached(DRILL_DONE)?.execute([])?;

        let Drill { id, target, index, rpo_ms, rto_ms, .. } = self.drill;
        let found = json!({
            "target": target,
            "passed": passed,
            "index": index,
            "rpo_ms": rpo_ms,
            "rto_ms": rto_ms,
            "files": self.drill.files.len(),
        });
        cx.note("backup_drill", id, found);
        Ok(())
    }
}

fn number(index: u64) -> Result<i64, Fault> {
    i64::try_from(index).map_err(|error| Fault::new("store an index", error))
}

const UPDATE: &str = "UPDATE backup_targets
    SET archived = ?2, archived_ms = ?3, cut = ?4, cut_ms = ?5, said_ms = ?6, failing = ?7 WHERE name = ?1";
const DRILL_DONE: &str = "UPDATE backup_state SET drill_wanted_ms = NULL WHERE one = 1";
const INSERT_DRILL: &str = "INSERT INTO backup_drills (id, at_ms, passed, result) VALUES (?1, ?2, ?3, ?4)";
const FORGET_DRILLS: &str = "DELETE FROM backup_drills WHERE id IN
    (SELECT id FROM backup_drills ORDER BY at_ms DESC, id DESC LIMIT -1 OFFSET ?1)";
