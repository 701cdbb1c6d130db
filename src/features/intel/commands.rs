//! An import: begun, moved on chunk by chunk, stopped when a chunk is refused.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    model::{Import, ImportState, Object, Tally, counts_to},
    queries::{self, Known, Latest},
};
use crate::{
    cluster::{Apply, Command, Kind},
    features::quotas::{self, Resource},
    kernel::{JobId, Permission, Refusal, to_hex},
    store::Stop,
};

/// Begins the import of a bundle, or finds the one of the same bundle.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginImport {
    /// Id of the import if it is a new one.
    pub id: JobId,
    /// SHA-256 of the request body (hexadecimal): the same body is the same import.
    pub digest: String,
    /// The bundle's own id.
    pub bundle_id: String,
    /// Objects of the bundle.
    pub total: i64,
}

impl Command for BeginImport {
    const KIND: Kind = Kind::new("intel.begin_import", 1);
    const NEEDS: Permission = Permission::IndicatorCreate;
    type Reply = Import;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Import, Stop> {
        let before = queries::import_of(cx.tx, &self.digest)?;

        let after = match before {
            Some(before) if before.state == ImportState::Stopped => {
                let after = Import { state: ImportState::Running, reason: None, updated: cx.at, ..before };
                save(cx, &after)?;
                after
            }
            Some(before) => before,
            None => {
                let after = Import::begin(self.id, self.bundle_id, self.total, cx.at);
                insert_import(cx, &after, &self.digest)?;
                after
            }
        };

        let change = json!({ "state": after.state, "seen": after.seen, "total": after.total });
        cx.note("intel_import", after.id, change);
        Ok(after)
    }
}

/// The next objects of an import.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportChunk {
    /// The import.
    pub job: JobId,
    /// How many objects of the bundle stand before these. A chunk the import is already past changes nothing.
    pub from: i64,
    /// The objects.
    pub objects: Vec<Object>,
}

impl Command for ImportChunk {
    const KIND: Kind = Kind::new("intel.import_chunk", 1);
    const NEEDS: Permission = Permission::IndicatorCreate;
    type Reply = Import;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Import, Stop> {
        let before = queries::import(cx.tx, self.job)?.ok_or(Refusal::NotFound)?;

        if self.from < before.seen {
            cx.note("intel_import", before.id, json!({ "from": self.from, "seen": before.seen }));
            return Ok(before);
        }
        let ends = i64::try_from(self.objects.len()).ok().and_then(|count| self.from.checked_add(count));
        if self.from > before.seen || ends.is_none_or(|ends| ends > before.total) {
            return Err(
                Refusal::WrongState { state: format!("seen {} of {}", before.seen, before.total) }.into()
            );
        }

        let ids = digest_of_ids(&self.objects);
        let (tally, takes) = store(cx, &self.objects)?;
        let after = before.advanced(tally, cx.at);
        save(cx, &after)?;

        let Tally { added, updated, unchanged } = tally;
        let change = json!({ "from": self.from, "to": after.seen, "total": after.total, "added": added,
            "updated": updated, "unchanged": unchanged, "ids_sha256": ids });
        cx.note("intel_import", after.id, change);
        for (resource, amount) in takes {
            quotas::take(cx, resource, amount)?;
        }
        Ok(after)
    }
}

/// What storing objects takes of each quota.
type Takes = BTreeMap<Resource, i64>;

/// Stores what is not there yet; the first version with other content refuses the whole chunk.
fn store(cx: &mut Apply<'_>, objects: &[Object]) -> Result<(Tally, Takes), Stop> {
    let (mut tally, mut takes) = (Tally::default(), Takes::new());
    for object in objects {
        match queries::known(cx.tx, object)? {
            Known::Same => tally.unchanged += 1,
            Known::Other => return Err(queries::conflict(object).into()),
            Known::Absent(latest) => {
                if latest.is_some() {
                    tally.updated += 1;
                } else {
                    tally.added += 1;
                    if let Some(resource) = counts_to(&object.kind) {
                        *takes.entry(resource).or_default() += 1;
                    }
                }
                insert(cx, object, latest)?;
                // The leader's next measure of the file replaces this estimate.
                let bytes = i64::try_from(object.bytes()).unwrap_or(i64::MAX);
                *takes.entry(Resource::MaxStorageGb).or_default() += bytes;
            }
        }
    }
    Ok((tally, takes))
}

fn insert(cx: &mut Apply<'_>, object: &Object, latest: Option<Latest>) -> Result<(), Stop> {
    // By moment first: two spellings of a time sort differently as text.
    let newer = |latest: &Latest| {
        (object.modified_ms, object.version.as_str()) > (latest.modified_ms, latest.version.as_str())
    };
    let is_latest = latest.as_ref().is_none_or(newer);
    if let Some(latest) = latest.filter(|_| is_latest) {
        cx.tx.prepare_cached(RETIRE)?.execute([latest.seq])?;
    }
    cx.tx.prepare_cached(INSERT_OBJECT)?.execute(rusqlite::params![
        object.id,
        object.version,
        object.kind,
        object.name,
        object.external_id,
        object.modified_ms,
        is_latest,
        object.body.get(),
    ])?;
    Ok(())
}

/// Names the chunk's objects in the audit event without listing them: SHA-256 over each id and a line feed.
fn digest_of_ids(objects: &[Object]) -> String {
    let mut hash = Context::new(&SHA256);
    for object in objects {
        hash.update(object.id.as_bytes());
        hash.update(b"\n");
    }
    to_hex(hash.finish().as_ref())
}

/// A chunk was refused: the import stands still until the same bundle is sent again.
#[derive(Debug, Serialize, Deserialize)]
pub struct StopImport {
    /// The import.
    pub job: JobId,
    /// Where the refused chunk began; an import that is past it goes on.
    pub seen: i64,
    /// Why it was refused.
    pub reason: Refusal,
}

impl Command for StopImport {
    const KIND: Kind = Kind::new("intel.stop_import", 1);
    /// The edge asks for it as the installation: whoever lost the permission to import cannot stop it either.
    const NEEDS: Permission = Permission::SystemOnly;
    type Reply = Import;

    fn apply(self, cx: &mut Apply<'_>) -> Result<Import, Stop> {
        let before = queries::import(cx.tx, self.job)?.ok_or(Refusal::NotFound)?;

        let stops = before.state == ImportState::Running && before.seen == self.seen;
        let change =
            json!({ "seen": before.seen, "total": before.total, "code": self.reason.code(), "stops": stops });
        cx.note("intel_import", before.id, change);
        if !stops {
            return Ok(before);
        }
        let after =
            Import { state: ImportState::Stopped, reason: Some(self.reason), updated: cx.at, ..before };

        save(cx, &after)?;
        Ok(after)
    }
}

fn insert_import(cx: &mut Apply<'_>, import: &Import, digest: &str) -> Result<(), Stop> {
    let (id, state) = (import.id.to_string(), import.state.name());
    cx.tx.prepare_cached(INSERT_IMPORT)?.execute((
        id,
        digest,
        &import.bundle_id,
        state,
        import.total,
        cx.at.0,
    ))?;
    Ok(())
}

/// Writes how far an import has come.
fn save(cx: &mut Apply<'_>, import: &Import) -> Result<(), Stop> {
    let reason = import.reason.as_ref().map(serde_json::to_string).transpose()?;
    cx.tx.prepare_cached(UPDATE_IMPORT)?.execute(rusqlite::params![
        import.id.to_string(),
        import.state.name(),
        import.seen,
        import.tally.added,
        import.tally.updated,
        import.tally.unchanged,
        reason,
        import.updated.0,
    ])?;
    Ok(())
}

const INSERT_OBJECT: &str = "INSERT INTO intel_objects
    (id, version, type, name, external_id, modified_ms, is_latest, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const RETIRE: &str = "UPDATE intel_objects SET is_latest = 0 WHERE seq = ?1";
const INSERT_IMPORT: &str = "INSERT INTO intel_imports
    (id, digest, bundle_id, state, total, seen, added, updated, unchanged, reason, created_ms, updated_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, NULL, ?6, ?6)";
const UPDATE_IMPORT: &str =
    "UPDATE intel_imports SET state = ?2, seen = ?3, added = ?4, updated = ?5, unchanged = ?6,
    reason = ?7, updated_ms = ?8 WHERE id = ?1";
