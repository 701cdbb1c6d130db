//! Files that nobody writes to come to the level in force by an entry that does nothing else.

use serde::{Deserialize, Serialize};

use super::{Apply, Command, Kind, Trail};
use crate::{kernel::Permission, store::Stop};

/// Does nothing: its envelope brings the file to the level in force, as any entry does.
#[derive(Debug, Serialize, Deserialize)]
pub struct RaiseFile {}

impl Command for RaiseFile {
    const KIND: Kind = Kind::new("spine.raise_file", 1);
    const NEEDS: Permission = Permission::SystemOnly;
    const TRAIL: Trail = Trail::Silent;
    type Reply = ();

    fn apply(self, _cx: &mut Apply<'_>) -> Result<(), Stop> {
        Ok(())
    }
}

/// Needs the level that only the build for the test of rolling upgrades knows: writes what only there is room for.
/// Answers how often that was done. A release refuses it, as it would anything above its level.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rehearse {}

impl Command for Rehearse {
    const KIND: Kind = Kind::new("spine.rehearse", 1);
    const NEEDS: Permission = Permission::ClusterManage;
    const SINCE: u32 = 2;
    type Reply = i64;

    fn apply(self, cx: &mut Apply<'_>) -> Result<i64, Stop> {
        cx.tx.prepare_cached(INSERT)?.execute([cx.at.0])?;
        cx.note("level", cx.level, serde_json::Value::Null);
        Ok(cx.tx.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?)
    }
}

const INSERT: &str = "INSERT INTO spine_rehearsal (at_ms) VALUES (?1)";
const COUNT: &str = "SELECT count(*) FROM spine_rehearsal";
