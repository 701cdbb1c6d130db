//! How the consensus engine is set.

use std::time::Duration;

use crate::contract::{Config, Fault};

/// Our times in the engine's terms.
///
/// The engine starts an election once a leader's lease (its longest election time-out) *and* a random
/// election time-out have passed without a heartbeat. Half of ours for each makes the sum ours.
pub(crate) fn engine(config: &Config) -> Result<openraft::Config, Fault> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (shortest, longest) = (ms(config.election.0) / 2, ms(config.election.1) / 2);
    let engine = openraft::Config {
        cluster_name: "threatflow".into(),
        heartbeat_interval: ms(config.heartbeat),
        election_timeout_min: shortest,
        election_timeout_max: longest,
        enable_pre_vote: Some(true),
        // A restarted leader stands for election like any other: it cannot know what happened meanwhile.
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        // Only a follower whose entries are purged gets a snapshot.
        replication_lag_threshold: u64::MAX,
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.keep_entries,
        purge_batch_size: 1,
        install_snapshot_timeout: 120_000,
        backoff: "20ms 40ms 80ms ..500ms".into(),
        ..openraft::Config::default()
    };
    engine.validate().map_err(|e| Fault::new("configure the consensus engine", e))
}
