//! The consensus engine's own test of a log store.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError, StoredMembership as Stored,
    storage::{EntryResponder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::super::LogStore;
use crate::{
    contract::GroupId,
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, ()>;

/// The least state machine: it remembers how far it came.
#[derive(Clone, Default)]
struct Least {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Shared with the builder, which is a clone.
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Least {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Least {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = Stored::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Bytes::new());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.lock().unwrap().clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Least, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Least), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let store = LogStore::open(&folder.path().join("log"), GroupId::MAIN, 16 << 10).unwrap();
        Ok((folder, store, Least::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_own_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
