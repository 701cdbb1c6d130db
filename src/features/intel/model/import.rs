//! How far an import has come, and how a bundle is cut into chunks.

use serde::{Deserialize, Serialize};

use super::Object;
use crate::kernel::{JobId, Millis, Refusal};

/// Most objects of a chunk: other commands of the cluster wait behind one chunk, never behind a bundle.
const CHUNK_OBJECTS_MAX: usize = 500;
/// Most bytes of a chunk, unless one object alone is larger.
const CHUNK_BYTES_MAX: usize = 512 << 10;

/// Where an import stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// Chunks are coming, or will when the same bundle is sent again.
    Running,
    /// A chunk was refused; sending the same bundle again continues behind the last one kept.
    Stopped,
    /// Everything is in.
    Done,
}

impl ImportState {
    const ALL: [Self; 3] = [Self::Running, Self::Stopped, Self::Done];

    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One import of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Its id.
    pub id: JobId,
    /// The bundle's own id.
    pub bundle_id: String,
    /// Where it stands.
    pub state: ImportState,
    /// Objects of the bundle.
    pub total: i64,
    /// Objects that are in, from the front of the bundle: where a resumed import continues.
    pub seen: i64,
    /// What they were.
    pub tally: Tally,
    /// What stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
    /// When it began.
    pub created: Millis,
    /// When it last moved.
    pub updated: Millis,
}

/// What objects turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Ids that were not there.
    pub added: i64,
    /// Other versions of ids that were there.
    pub updated: i64,
    /// Versions that were there.
    pub unchanged: i64,
}

impl Tally {
    /// How many objects.
    pub fn sum(self) -> i64 {
        self.added.saturating_add(self.updated).saturating_add(self.unchanged)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            added: self.added.saturating_add(other.added),
            updated: self.updated.saturating_add(other.updated),
            unchanged: self.unchanged.saturating_add(other.unchanged),
        }
    }
}

impl Import {
    /// A new one.
    pub fn begin(id: JobId, bundle_id: String, total: i64, at: Millis) -> Self {
        let state = if total == 0 { ImportState::Done } else { ImportState::Running };
        let tally = Tally::default();
        Self { id, bundle_id, state, total, seen: 0, tally, reason: None, created: at, updated: at }
    }

    /// After another chunk.
    #[must_use]
    pub fn advanced(self, chunk: Tally, at: Millis) -> Self {
        let seen = self.seen.saturating_add(chunk.sum());
        let state = if seen >= self.total { ImportState::Done } else { ImportState::Running };
        Self { state, seen, tally: self.tally.plus(chunk), reason: None, updated: at, ..self }
    }
}

/// The next chunk behind the first `from` objects; empty at the end.
pub fn cut(objects: &[Object], from: usize) -> &[Object] {
    let rest = objects.get(from..).unwrap_or_default();
    let mut bytes = 0;
    let fits = |object: &&Object| {
        bytes += object.bytes();
        bytes <= CHUNK_BYTES_MAX
    };
    let count = rest.iter().take(CHUNK_OBJECTS_MAX).take_while(fits).count();
    rest.get(..count.max(1)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn object(bytes: usize) -> Object {
        Object {
            id: String::new(),
            kind: String::new(),
            version: String::new(),
            name: None,
            external_id: None,
            modified_ms: None,
            body: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap(),
        }
    }

    #[test]
    fn a_chunk_is_bounded_by_count_and_bytes_and_never_empty_before_the_end() {
        let small = vec![object(10); 1_200];
        assert_eq!([0, 500, 1_000, 1_200].map(|from| cut(&small, from).len()), [500, 500, 200, 0]);
        let large = vec![object(300 << 10); 3];
        assert_eq!(cut(&large, 0).len(), 1);
        assert_eq!(cut(&[object(900 << 10), object(10)], 0).len(), 1);
    }
}
