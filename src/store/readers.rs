//! Read connections: opened on demand, kept in a bounded pool, closed by least use.

use std::{collections::BTreeMap, sync::Mutex};

use rusqlite::Connection;

use super::{
    files::{Store, lock},
    open,
};
use crate::kernel::{Fault, FileId};

#[derive(Default)]
pub(super) struct Readers {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Keyed by when they were last used.
    by_use: BTreeMap<u64, (FileId, Connection)>,
    clock: u64,
}

/// Each costs 0.25 MiB (measured).
const IDLE_MAX: usize = 48;

impl Readers {
    /// Runs `queries` inside one read transaction, so that they see one state of the file.
    pub(super) fn with<T>(
        &self,
        store: &Store,
        file: FileId,
        queries: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let pooled = lock(&self.idle).take(file);
        let connection = match pooled {
            Some(connection) => connection,
            None => open::for_read(&store.path(file), store.keys(file)?.raw()?)?,
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = queries(&connection);
        // A connection whose view cannot be ended is dropped, not pooled: it would pin the log.
        // Nor is one of a file that was destroyed meanwhile.
        if connection.prepare_cached("COMMIT")?.execute([]).is_ok() && store.exists(file) {
            lock(&self.idle).give(file, connection);
        }
        answer
    }

    pub(super) fn close(&self, file: FileId) {
        lock(&self.idle).by_use.retain(|_, (of, _)| *of != file);
    }

    /// Connections that nobody uses now.
    pub(super) fn idle(&self) -> usize {
        lock(&self.idle).by_use.len()
    }

    pub(super) fn close_all(&self) {
        lock(&self.idle).by_use.clear();
    }
}

impl Idle {
    fn take(&mut self, file: FileId) -> Option<Connection> {
        let newest = self.by_use.iter().rev().find(|(_, (of, _))| *of == file).map(|(used, _)| *used)?;
        self.by_use.remove(&newest).map(|(_, connection)| connection)
    }

    fn give(&mut self, file: FileId, connection: Connection) {
        self.clock += 1;
        self.by_use.insert(self.clock, (file, connection));
        while self.by_use.len() > IDLE_MAX {
            self.by_use.pop_first();
        }
    }
}
