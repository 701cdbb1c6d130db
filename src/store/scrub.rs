//! Scrubbing: a file is read whole, at a bounded rate, to find what has gone bad where nobody looks.
//!
//! Every page in use is read, and so its authentication tested; then every row, and the sum of the rows is
//! compared with the sum on record. All of it on one view of the file, while writers go on.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{PoisonError, atomic::Ordering},
    thread::park_timeout,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension};

use super::{
    filekeys::FileKeys,
    files::Store,
    open,
    quarantine::{Found, Quarantined, is_damage},
    snapshot::Mark,
    standings::Standing,
    sum::scan,
    writer::standing_of,
};
use crate::kernel::{Fault, FileId};

/// How a scrub ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// The file is what was written.
    Sound {
        /// Where it stood.
        standing: Standing,
        /// Bytes that were read.
        bytes: u64,
    },
    /// It is damaged; in quarantine, if another node has it.
    Damaged,
    /// It is in quarantine already, or gone, or the scrub had to make room: nothing is known.
    Unknown,
}

/// Reads no faster than it may, and ends when it must.
struct Pace<'a> {
    store: &'a Store,
    bytes_per_s: u64,
    begun: Instant,
    bytes: u64,
}

/// Longest wait between two looks whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("it had to make room")
    }
}

impl std::error::Error for Ended {}

impl Pace<'_> {
    fn step(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += u64::try_from(bytes).unwrap_or_default();
        let due = Duration::from_millis(self.bytes.saturating_mul(1_000) / self.bytes_per_s.max(1));
        loop {
            if self.store.wants_alone() {
                return Err(Fault::new("scrub a file", Ended));
            }
            let wait = due.saturating_sub(self.begun.elapsed());
            if wait.is_zero() {
                return Ok(());
            }
            park_timeout(wait.min(LOOK_EVERY));
        }
    }
}

impl Store {
    /// Reads all of `file`; puts it in quarantine if it is damaged. Takes as long as the rate says.
    pub fn scrub(&self, file: FileId, bytes_per_s: u64) -> Result<Scrubbed, Fault> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !self.exists(file) || self.is_awaited(file) || self.is_quarantined(file) {
            return Ok(Scrubbed::Unknown);
        }
        let mut pace = Pace { store: self, bytes_per_s, begun: Instant::now(), bytes: 0 };
        let scrubbed = self
            .keys(file)
            .and_then(|keys| open::for_read(&self.path(file), keys.raw()?))
            .and_then(|connection| read_all(&connection, &mut pace));
        match scrubbed {
            Ok((standing, sum)) if standing.sum == sum => {
                self.counters.scrubbed_files.fetch_add(1, Ordering::Relaxed);
                self.counters.scrubbed_bytes.fetch_add(pace.bytes, Ordering::Relaxed);
                Ok(Scrubbed::Sound { standing, bytes: pace.bytes })
            }
            Ok((Standing { mark, sum: recorded }, sum)) => {
                let (sum, recorded) = (String::from(sum), String::from(recorded));
                let what = format!("its rows add up to {sum} at entry {mark}, and {recorded} is on record");
                self.damaged(file, &Fault::found(what))
            }
            Err(fault)
                if std::error::Error::source(&fault).is_some_and(<dyn std::error::Error>::is::<Ended>) =>
            {
                Ok(Scrubbed::Unknown)
            }
            Err(fault) if is_damage(&fault) => self.damaged(file, &fault),
            Err(fault) => Err(Fault::new(format!("scrub {}", self.path(file).display()), fault)),
        }
    }

    /// Where no other node has the file nothing is gained by refusing what can still be read of it.
    fn damaged(&self, file: FileId, fault: &Fault) -> Result<Scrubbed, Fault> {
        if self.is_replicated() {
            self.set_aside(file, Found::Damaged, &fault.to_string())?;
        } else {
            self.counters.alarms.fetch_add(1, Ordering::Relaxed);
            tracing::error!(organization.id = %file, %fault, "a file is damaged, and no other node has it");
        }
        Ok(Scrubbed::Damaged)
    }

    /// Whether the copy at `path` is whole: all of it can be read, and its rows add up.
    pub fn prove(&self, path: &Path, copy: &Mark) -> Result<(), Fault> {
        let keys = FileKeys::read(&self.keyring, copy.file, &copy.keys)?;
        let connection = open::for_read(path, keys.raw()?)?;
        let pace = &mut Pace { store: self, bytes_per_s: u64::MAX, begun: Instant::now(), bytes: 0 };
        let (standing, sum) = read_all(&connection, pace)?;
        if standing == (Standing { mark: copy.mark, sum }) {
            return Ok(());
        }
        Err(Fault::found(format!("the copy of file {} does not add up", copy.file)))
    }

    /// Where `file` stands as readers see it; `None` when it does not exist.
    pub fn standing(&self, file: FileId) -> Result<Option<Standing>, Fault> {
        self.read(file, standing_of)
    }

    /// A fault for whoever wants to answer from a file in quarantine.
    pub(super) fn require_sound(&self, file: FileId) -> Result<(), Fault> {
        if self.is_quarantined(file) {
            return Err(Fault::new("read a file", Quarantined(file)));
        }
        Ok(())
    }
}

fn read_all(connection: &Connection, pace: &mut Pace<'_>) -> Result<(Standing, super::Sum), Fault> {
    connection.execute_batch("BEGIN")?;
    let standing = standing_of(connection)?;
    read_pages(connection, pace)?;
    Ok((standing, scan(connection, |bytes| pace.step(bytes))?))
}

/// Reads every page but the leaves of the list of free ones, which are never written.
fn read_pages(connection: &Connection, pace: &mut Pace<'_>) -> Result<(), Fault> {
    let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let mut statement = connection.prepare(PAGE)?;
    let mut read = |number: u32| -> Result<Vec<u8>, Fault> {
        let data = statement.query_row([number], |row| row.get(0)).optional()?;
        Ok(data.unwrap_or_default())
    };
    let mut free = BTreeSet::new();
    let mut trunk = word(&read(1)?, FIRST_TRUNK);
    // No list is longer than the file, however broken it is.
    for _ in 0..count {
        let Some(number) = trunk.filter(|number| *number != 0) else { break };
        let list = read(number)?;
        let leaves = word(&list, 4).unwrap_or_default() as usize;
        free.extend((0..leaves.min(list.len() / 4)).filter_map(|leaf| word(&list, 8 + 4 * leaf)));
        trunk = word(&list, 0);
    }
    for number in (1..=count).filter(|number| !free.contains(number)) {
        pace.step(read(number)?.len())?;
    }
    Ok(())
}

/// The big-endian number at `at`.
fn word(page: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(page.get(at..at + 4)?.try_into().ok()?))
}

/// Where the header of a file says which page the list of free pages begins with
/// (<https://www.sqlite.org/fileformat2.html>, 1.3 and 1.5).
const FIRST_TRUNK: usize = 32;
const PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";
