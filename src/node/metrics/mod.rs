//! What a monitor reads at `/metrics`: counts and gauges of this node, in the text format of Prometheus.
//!
//! What always holds: no name of an organization or a user, no value of a path's parameter; reading costs no
//! lock that apply holds. Start here; the format is `text.rs`.

mod text;

use std::sync::atomic::{AtomicU64, Ordering};

use raft::{Status, Took};
use serde_json::Value;

use self::text::{Kind, Text, seconds_of_micros, seconds_of_ms};
use crate::{
    cluster::{About, Cluster},
    features::backup::jobs::{DRILLS, REPORT},
    web::{BOUNDS_MS, Traffic, now},
};

/// The page.
pub(super) fn page(cluster: &Cluster, traffic: &Traffic) -> String {
    let (about, status) = (About::of(cluster), cluster.replica().status());
    let mut text = Text::default();
    process(&mut text, &about);
    consensus(&mut text, &status);
    members(&mut text, &status);
    log(&mut text, &status);
    work(&mut text, cluster);
    storage(&mut text, &about);
    care(&mut text, cluster, &about);
    restore(&mut text, &about);
    backups(&mut text, cluster);
    certificates(&mut text, &status);
    requests(&mut text, traffic);
    text.page()
}

fn process(text: &mut Text, about: &About) {
    text.family("threatflow_build_info", Kind::Gauge, "1, labelled with versions.")
        .sample(&[("version", about.version.as_str()), ("sqlite_version", &about.sqlite_version)], 1);
    text.family("threatflow_level_max", Kind::Gauge, "The highest level that this binary knows.")
        .sample(&[], about.level_max);
    text.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory.")
        .sample(&[], about.resident_bytes);
    text.family("process_open_fds", Kind::Gauge, "Open file descriptors.").sample(&[], about.open_files);
    text.family("threatflow_uptime_seconds", Kind::Gauge, "Time since this node started.")
        .sample(&[], seconds_of_ms(about.uptime_ms));
}

fn consensus(text: &mut Text, status: &Status) {
    text.family("threatflow_raft_term", Kind::Gauge, "The present term.").sample(&[], status.term);
    text.family("threatflow_raft_is_leader", Kind::Gauge, "1 on the leader.")
        .sample(&[], u8::from(status.role == "leader"));
    text.family("threatflow_raft_leader", Kind::Gauge, "The leader's number; 0 when none is known.")
        .sample(&[], status.leader.unwrap_or_default());
    text.family("threatflow_halted", Kind::Gauge, "1 after a fault.")
        .sample(&[], u8::from(status.role == "halted"));
    text.family("threatflow_raft_index", Kind::Gauge, "Where this node stands in the log.")
        .sample(&[("of", "last")], status.last_index)
        .sample(&[("of", "commit")], status.commit_index)
        .sample(&[("of", "applied")], status.applied_index)
        .sample(&[("of", "checkpoint")], status.checkpoint_index)
        .sample(&[("of", "purged")], status.purged_index);
    if let Some(tolerance) = status.failure_tolerance {
        text.family(
            "threatflow_raft_failure_tolerance",
            Kind::Gauge,
            "Voters that may be lost; on the leader.",
        )
        .sample(&[], tolerance);
    }
}

fn members(text: &mut Text, status: &Status) {
    text.family("threatflow_raft_voters", Kind::Gauge, "Nodes that vote.")
        .sample(&[], status.members.iter().filter(|member| member.voter).count());
    let named: Vec<_> = status.members.iter().map(|member| (member.node.to_string(), member)).collect();
    let known = |value: fn(&raft::Member) -> Option<u64>| {
        named.iter().filter_map(move |(node, member)| Some((node.as_str(), value(member)?)))
    };
    text.family("threatflow_raft_peer_lag_entries", Kind::Gauge, "Entries a node lacks; on the leader.");
    for (node, lag) in known(|member| member.lag) {
        text.sample(&[("peer", node)], lag);
    }
    text.family("threatflow_raft_peer_lag_seconds", Kind::Gauge, "For how long; on the leader.");
    for (node, ms) in known(|member| member.lag_ms) {
        text.sample(&[("peer", node)], seconds_of_ms(ms));
    }
    let help = "Time since a node last answered; on the leader.";
    text.family("threatflow_raft_peer_silence_seconds", Kind::Gauge, help);
    for (node, ms) in known(|member| member.last_ack_ms) {
        text.sample(&[("peer", node)], seconds_of_ms(ms));
    }
}

fn log(text: &mut Text, status: &Status) {
    text.family("threatflow_log_bytes", Kind::Gauge, "Size of the log, what is preallocated included.")
        .sample(&[], status.log.bytes_on_disk);
    text.family("threatflow_log_segments", Kind::Gauge, "Files of the log.").sample(&[], status.log.segments);
    took(
        text,
        "threatflow_log_fsyncs_total",
        "Syncs of the log.",
        status.log.syncs,
        "threatflow_log_fsync_seconds_total",
    );
}

fn work(text: &mut Text, cluster: &Cluster) {
    let figures = cluster.replica().figures();
    text.family("threatflow_proposals_total", Kind::Counter, "Proposals of this node, by outcome.")
        .sample(&[("outcome", "done")], figures.proposals_done)
        .sample(&[("outcome", "no_quorum")], figures.proposals_no_quorum)
        .sample(&[("outcome", "unknown")], figures.proposals_unknown)
        .sample(&[("outcome", "halted")], figures.proposals_halted)
        .sample(&[("outcome", "too_large")], figures.proposals_too_large);
    took(
        text,
        "threatflow_apply_batches_total",
        "Batches applied.",
        figures.applies,
        "threatflow_apply_seconds_total",
    );
    text.family("threatflow_applied_entries_total", Kind::Counter, "Entries applied.")
        .sample(&[], figures.applied_entries);
    took(
        text,
        "threatflow_checkpoints_total",
        "Checkpoints made.",
        figures.checkpoints,
        "threatflow_checkpoint_seconds_total",
    );
    text.family("threatflow_snapshots_total", Kind::Counter, "Snapshots that came or went.")
        .sample(&[("direction", "sent")], figures.snapshots_sent)
        .sample(&[("direction", "installed")], figures.snapshots_installed);
    let help = "Bytes of files in them, and of the lists of all files that begin them.";
    text.family("threatflow_snapshot_bytes_total", Kind::Counter, help)
        .sample(&[("direction", "sent")], figures.snapshot_bytes_sent)
        .sample(&[("direction", "received")], figures.snapshot_bytes_received);
}

/// Two counters: how often, and for how long altogether.
fn took(text: &mut Text, count: &'static str, help: &str, took: Took, seconds: &'static str) {
    text.family(count, Kind::Counter, help).sample(&[], took.count);
    text.family(seconds, Kind::Counter, "Time they took.").sample(&[], seconds_of_micros(took.micros));
}

fn storage(text: &mut Text, about: &About) {
    // One file is the system's own.
    text.family("threatflow_organizations", Kind::Gauge, "Organizations with a file here.")
        .sample(&[], about.files.saturating_sub(1));
    text.family("threatflow_sqlite_connections", Kind::Gauge, "Connections to files that are kept open.")
        .sample(&[], about.open_connections);
    text.family("threatflow_disk_bytes", Kind::Gauge, "The disk of the data folder.")
        .sample(&[("of", "free")], about.disk_free_bytes)
        .sample(&[("of", "total")], about.disk_total_bytes);
    if let Some(age) = about.checkpoint_age_ms {
        text.family(
            "threatflow_checkpoint_age_seconds",
            Kind::Gauge,
            "Time since the files were made durable.",
        )
        .sample(&[], seconds_of_ms(age));
    }
    if let Some(age) = about.snapshot_age_ms {
        text.family("threatflow_snapshot_age_seconds", Kind::Gauge, "Time since a snapshot came or went.")
            .sample(&[], seconds_of_ms(age));
    }
    text.family(
        "threatflow_warnings",
        Kind::Gauge,
        "Things an operator should look after; see /readyz?verbose.",
    )
    .sample(&[], about.warnings.len());
}

fn care(text: &mut Text, cluster: &Cluster, about: &About) {
    let counters = cluster.store().counters();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.family("threatflow_files_quarantined", Kind::Gauge, "Files that this node does not answer from.")
        .sample(&[], about.alarms.len());
    text.family("threatflow_file_alarms_total", Kind::Counter, "Files found damaged or different.")
        .sample(&[], read(&counters.alarms));
    text.family("threatflow_file_comparisons_total", Kind::Counter, "Files found equal on another node.")
        .sample(&[], read(&counters.compared));
    text.family("threatflow_scrubbed_files_total", Kind::Counter, "Files read through and found sound.")
        .sample(&[], read(&counters.scrubbed_files));
    text.family("threatflow_scrubbed_bytes_total", Kind::Counter, "Bytes read by scrubs.")
        .sample(&[], read(&counters.scrubbed_bytes));
}

/// While this node serves in the middle of a restore.
fn restore(text: &mut Text, about: &About) {
    let Some(arrived) = &about.restore else { return };
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    text.family("threatflow_restore_organizations", Kind::Gauge, "Organizations of a restore under way.")
        .sample(&[("of", "here")], count(arrived.here))
        .sample(&[("of", "total")], count(arrived.of))
        .sample(&[("of", "failing")], count(arrived.failing));
    text.family("threatflow_restore_bytes", Kind::Gauge, "Bytes of a restore under way.")
        .sample(&[("of", "here")], arrived.bytes_here)
        .sample(&[("of", "total")], arrived.bytes_of);
    text.family("threatflow_restore_stalled", Kind::Gauge, "1 while its backup cannot be read.")
        .sample(&[], u8::from(arrived.stalled.is_some()));
}

/// On the leader: its uploaders say how far they are.
fn backups(text: &mut Text, cluster: &Cluster) {
    let said = cluster.reported(REPORT);
    let Some(targets) = said.as_object() else { return };
    let number = |said: &Value, pointer| said.pointer(pointer).and_then(Value::as_i64);
    let help = "Age of the newest moment that a target can restore; on the leader.";
    text.family("threatflow_backup_lag_seconds", Kind::Gauge, help);
    for (target, said) in targets {
        if let Some(at) = number(said, "/progress/archived_at") {
            let ms = u64::try_from(now().0.saturating_sub(at)).unwrap_or_default();
            text.sample(&[("target", target)], seconds_of_ms(ms));
        }
    }
    text.family("threatflow_backup_failing", Kind::Gauge, "1 while a target fails; on the leader.");
    for (target, said) in targets {
        let fails = said.pointer("/progress/failing").is_some_and(|failing| !failing.is_null());
        text.sample(&[("target", target)], u8::from(fails));
    }
    let help =
        "1 while the log is longer than it may be for targets, and entries are given up; on the leader.";
    text.family("threatflow_backup_spool_full", Kind::Gauge, help);
    for (target, said) in targets {
        let full = said.get("spool_full") == Some(&Value::Bool(true));
        text.sample(&[("target", target)], u8::from(full));
    }
    let help = "Entries that were given up before they were archived; on the leader.";
    text.family("threatflow_backup_lost_entries_total", Kind::Counter, help);
    for (target, said) in targets {
        text.sample(&[("target", target)], number(said, "/lost").unwrap_or_default());
    }
    let help = "When a restore was proven last, 0 for never; on the leader.";
    let passed = cluster.reported(DRILLS).as_i64().unwrap_or_default();
    text.family("threatflow_backup_drill_passed_timestamp_seconds", Kind::Gauge, help)
        .sample(&[], passed / 1_000);
    text.family("threatflow_backup_requests_total", Kind::Counter, "Requests that write; on the leader.");
    for (target, said) in targets {
        text.sample(&[("target", target)], number(said, "/load/requests").unwrap_or_default());
    }
    text.family("threatflow_backup_bytes_total", Kind::Counter, "Bytes in them; on the leader.");
    for (target, said) in targets {
        text.sample(&[("target", target)], number(said, "/load/bytes").unwrap_or_default());
    }
}

fn certificates(text: &mut Text, status: &Status) {
    let help = "Time until a certificate ends; negative once it has.";
    let left = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_sub(now().0) / 1_000;
    text.family("threatflow_certificate_expiry_seconds", Kind::Gauge, help)
        .sample(&[("of", "node")], left(status.certificates.expires_ms))
        .sample(&[("of", "authority")], left(status.certificates.authority_expires_ms));
}

fn requests(text: &mut Text, traffic: &Traffic) {
    let read = traffic.tallies().into_iter().map(|tally| (tally.read(), tally));
    let used: Vec<_> = read.filter(|(read, _)| read.count > 0).collect();
    text.family("threatflow_http_requests_total", Kind::Counter, "Answers, by route and class of status.");
    for (read, tally) in &used {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(read.classes) {
            if count > 0 {
                text.sample(&[("method", tally.method), ("route", &tally.route), ("class", class)], count);
            }
        }
    }
    let limited = used.iter().map(|(read, _)| read.limited).sum::<u64>();
    text.family("threatflow_http_rate_limited_total", Kind::Counter, "Answers 429.").sample(&[], limited);
    let help = "Time from the head of a request to the head of its answer.";
    text.family("threatflow_http_request_seconds", Kind::Histogram, help);
    for (read, tally) in &used {
        let labels = [("method", tally.method), ("route", tally.route.as_str())];
        for (bound, count) in BOUNDS_MS.into_iter().zip(read.within) {
            let bound = seconds_of_ms(bound);
            text.part("_bucket", &[labels.as_slice(), &[("le", &bound)]].concat(), count);
        }
        text.part("_bucket", &[labels.as_slice(), &[("le", "+Inf")]].concat(), read.count);
        text.part("_sum", &labels, seconds_of_micros(read.micros)).part("_count", &labels, read.count);
    }
}
