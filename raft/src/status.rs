//! What a replica says about itself: roles, lag, health.

use std::time::Duration;

use openraft::Instant as _;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    clock::system_ms,
    contract::NodeId,
    log::LogStats,
    replica::{Core, Leadership},
    rotation::{Certificates, certificates},
    voters,
};

/// A replica and what it knows of the group, at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// When it said so, milliseconds since the epoch.
    pub at_ms: u64,
    /// The cluster's random name, made at bootstrap.
    pub cluster: String,
    /// `leader`, `follower`, `candidate`, `learner`, or `halted`.
    pub role: &'static str,
    /// The present term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// A change of the voters is under way: until it is over, both the old and the new majority count.
    pub changing: bool,
    /// Voters that may be lost before nothing can be written. Known to the leader only.
    pub failure_tolerance: Option<usize>,
    /// Voters and learners, by id.
    pub members: Vec<Member>,
    /// Index of the last entry in the log.
    pub last_index: u64,
    /// Index of the last entry known to be committed.
    pub commit_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Index up to which this node's files are durable.
    pub checkpoint_index: u64,
    /// Milliseconds since that checkpoint; absent before the first.
    pub checkpoint_age_ms: Option<u64>,
    /// Entries up to here are gone from the log.
    pub purged_index: u64,
    /// Milliseconds since a snapshot was last brought to a follower or installed here; absent when none was since
    /// the start.
    pub snapshot_age_ms: Option<u64>,
    /// The log on disk.
    pub log: LogStats,
    /// What this node shows to its peers, and whom it trusts.
    pub certificates: Certificates,
}

/// A node of the group.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Whether it votes; a learner only listens until it has caught up.
    pub voter: bool,
    /// A learner that does not vote before it is promoted by hand.
    pub standby: bool,
    /// Where it stands, as its operator calls it.
    pub zone: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// The URL of its API.
    pub api_url: String,
    /// Index of the last entry it is known to hold. Known to the leader only.
    pub matched_index: Option<u64>,
    /// Entries it lacks. Known to the leader only.
    pub lag: Option<u64>,
    /// Milliseconds for which it has lacked the first of them: 0 when it lacks none, exact to 200 ms. Known to the
    /// leader only.
    pub lag_ms: Option<u64>,
    /// Milliseconds since it last answered. Known to the leader only.
    pub last_ack_ms: Option<u64>,
}

/// Collects the status.
pub(crate) fn of(core: &Core) -> Status {
    let metrics = core.metrics();
    let checkpoint = core.host.checkpoint();
    let last_index = metrics.last_log_index.unwrap_or(0);
    let leadership = *core.leadership.borrow();
    let role = match metrics.state {
        _ if core.host.halted.borrow().is_some() => "halted",
        openraft::ServerState::Leader => "leader",
        openraft::ServerState::Follower => "follower",
        openraft::ServerState::Candidate => "candidate",
        openraft::ServerState::Learner => "learner",
        openraft::ServerState::Shutdown => "halted",
    };
    Status {
        node: core.config.node,
        at_ms: system_ms(),
        cluster: core.peers.identity().trust.issuer().cluster().to_owned(),
        role,
        term: metrics.current_term,
        leader: match leadership {
            Leadership::Leader { .. } => Some(core.config.node),
            Leadership::Follower { leader } => Some(leader),
            Leadership::NoLeader => None,
        },
        changing: metrics.membership_config.get_joint_config().len() > 1
            || metrics.membership_config != metrics.committed_membership_config,
        failure_tolerance: core.leads().then(|| voters::tolerance(core)),
        members: members(core, &metrics, last_index),
        last_index,
        commit_index: metrics.local_committed.map_or(0, |committed| committed.index),
        applied_index: *core.host.applied.borrow(),
        checkpoint_index: checkpoint.index(),
        checkpoint_age_ms: checkpoint.last.map(|_| system_ms().saturating_sub(checkpoint.at_ms)),
        purged_index: metrics.purged.map_or(0, |purged| purged.index),
        snapshot_age_ms: age_ms(core.host.counters.read().snapshot_at_ms),
        log: core.log.stats(),
        certificates: certificates(core),
    }
}

fn age_ms(at_ms: u64) -> Option<u64> {
    (at_ms > 0).then(|| system_ms().saturating_sub(at_ms))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn members(core: &Core, metrics: &crate::replica::Metrics, last_index: u64) -> Vec<Member> {
    let membership = metrics.membership_config.membership();
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    let member = |(&node, about): (&NodeId, &crate::types::Node)| {
        let own = node == core.config.node && metrics.replication.is_some();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&node));
        let matched_index = matched.map(|matched| matched.as_ref().map_or(0, |matched| matched.index));
        let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&node)).and_then(Option::as_ref);
        let heard_ms = heard.map(|at| millis(at.elapsed()));
        Member {
            node,
            voter: voters.contains(&node),
            standby: about.standby,
            zone: about.zone.clone(),
            peer_address: about.peer_address.clone(),
            api_url: about.api_url.clone(),
            matched_index,
            lag: matched_index.map(|matched| last_index.saturating_sub(matched)),
            lag_ms: matched_index.map(|matched| millis(core.ends.behind(Instant::now(), matched))),
            last_ack_ms: if own { Some(0) } else { heard_ms },
        }
    };
    membership.nodes().map(member).collect()
}
