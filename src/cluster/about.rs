//! What a node says about itself: to other members, to its operator, to a monitor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cluster, process};
use crate::{
    kernel::{DAY_MS, FileId, Millis},
    store::{Alarm, Arrived, LEVEL, Room, VERSION},
};

/// From so long before its end on, a certificate is worth a warning.
const EXPIRY_WARNING_MS: i64 = 14 * DAY_MS;

/// What a node is made of and how it is. A member of another version may leave out what it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Version of its binary.
    pub version: String,
    /// Version of its SQLite.
    pub sqlite_version: String,
    /// The highest level its binary knows.
    pub level_max: u32,
    /// What opens its keyring: `file`, `credential`, `passphrase`; `data_dir` when it lies there open.
    pub seal: String,
    /// Index of the last entry that its readers see.
    pub applied_index: u64,
    /// Its files that are not known to have come to the level in force.
    pub files_below: usize,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Room on the disk of its data folder.
    pub disk_free_bytes: u64,
    /// The whole of that disk.
    pub disk_total_bytes: u64,
    /// Its log, what is preallocated included.
    pub log_bytes: u64,
    /// Files of its log.
    pub log_segments: usize,
    /// Milliseconds since its files were last made durable.
    pub checkpoint_age_ms: Option<u64>,
    /// Milliseconds since a snapshot last came or went; absent when none did since it started.
    pub snapshot_age_ms: Option<u64>,
    /// Files of organizations, and the system file.
    pub files: usize,
    /// Connections to them that are kept open.
    pub open_connections: usize,
    /// Open file descriptors.
    pub open_files: u64,
    /// Memory of the process.
    pub resident_bytes: u64,
    /// When the certificate that it shows to its peers ends.
    pub certificate_expires_at: String,
    /// SHA-256 of the certificate of the authority that issued it.
    pub authority: String,
    /// Every authority that it trusts.
    pub trusted: Vec<String>,
    /// How far the restore is that it serves in the middle of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<Arrived>,
    /// Files it does not answer from, and why.
    pub alarms: BTreeMap<FileId, Alarm>,
    /// What its operator should look after.
    pub warnings: Vec<String>,
}

impl About {
    /// This node, now.
    pub fn of(cluster: &Cluster) -> Self {
        let status = cluster.replica().status();
        // Unknown is not full.
        let room = cluster.store().room().ok();
        let certificates = status.certificates;
        let now = moment(status.at_ms);
        let own_ends = moment(certificates.expires_ms);
        let authority_ends = moment(certificates.authority_expires_ms);
        let warnings = room.and_then(low).into_iter().chain(ending("this node's certificate", own_ends, now));
        let restore = cluster.store().arrived();
        let warnings = warnings
            .chain(restore.iter().flat_map(arriving))
            .chain(ending("the cluster's authority", authority_ends, now))
            .collect();
        let Room { free, total } = room.unwrap_or_default();
        Self {
            version: VERSION.to_owned(),
            sqlite_version: rusqlite::version().to_owned(),
            level_max: LEVEL,
            seal: cluster.store().keyring().seal_name().to_owned(),
            applied_index: status.applied_index,
            files_below: cluster.store().below().len(),
            uptime_ms: cluster.uptime_ms(),
            disk_free_bytes: free,
            disk_total_bytes: total,
            log_bytes: status.log.bytes_on_disk,
            log_segments: status.log.segments,
            checkpoint_age_ms: status.checkpoint_age_ms,
            snapshot_age_ms: status.snapshot_age_ms,
            files: cluster.store().list().len(),
            open_connections: cluster.store().open_connections(),
            open_files: process::open_files(),
            resident_bytes: process::resident_bytes(),
            certificate_expires_at: own_ends.to_string(),
            authority: certificates.authority,
            trusted: certificates.trusted,
            alarms: alarms(cluster),
            restore,
            warnings,
        }
    }
}

/// What is in quarantine, and what cannot be fetched.
fn alarms(cluster: &Cluster) -> BTreeMap<FileId, Alarm> {
    let awaited = cluster.store().awaited().into_iter();
    let damaged = awaited.filter_map(|(file, alarm)| Some((file, alarm?)));
    cluster.store().alarms().into_iter().chain(damaged).collect()
}

fn arriving(arrived: &Arrived) -> impl Iterator<Item = String> {
    let Arrived { here, of, failing, stalled, seconds_left, .. } = arrived;
    let left = seconds_left.map_or(String::new(), |seconds| format!(", about {seconds} s left"));
    let told = format!("the restore is not complete: {here} of {of} organizations are here{left}");
    let failing =
        (*failing > 0).then(|| format!("{failing} organizations cannot be restored: see the alarms"));
    let stalled = stalled.as_ref().map(|why| format!("the restore waits for the backup: {why}"));
    [Some(told), failing, stalled].into_iter().flatten()
}

fn moment(ms: u64) -> Millis {
    Millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn low(room: Room) -> Option<String> {
    let mib = room.free >> 20;
    room.is_low().then(|| format!("the disk has {mib} MiB left, and a full disk stops the node: make room"))
}

fn ending(what: &str, end: Millis, now: Millis) -> Option<String> {
    (end < now.plus(EXPIRY_WARNING_MS)).then(|| format!("{what} ends at {end}: rotate it"))
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, Millis, Room, ending, low};

    #[test]
    fn a_certificate_is_warned_of_two_weeks_before_its_end() {
        let now = Millis(1_795_392_000_000);
        assert_eq!(ending("it", now.plus(15 * DAY_MS), now), None);
        let said = ending("it", now.plus(13 * DAY_MS), now);
        assert_eq!(said.as_deref(), Some("it ends at 2026-12-06T00:00:00.000Z: rotate it"));
    }

    #[test]
    fn a_low_disk_is_named_with_what_is_left() {
        assert_eq!(low(Room { free: 20 << 30, total: 100 << 30 }), None);
        let said = low(Room { free: 5 << 30, total: 100 << 30 }).unwrap_or_default();
        assert!(said.contains("5120 MiB left"), "{said}");
    }
}
