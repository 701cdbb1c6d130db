//! Who votes: promotion, demotion, removal. On the leader.
//!
//! What always holds: no change is begun by hand that would leave a group of which less than a majority answers,
//! unless it is forced; one change at a time; a learner begins to vote only when it lacks next to nothing, and,
//! once there is a group that can lose a node, only after it has kept up for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use openraft::{ChangeMembers, Instant as _};
use tokio::time::Instant;

use crate::{
    contract::NodeId,
    membership::told,
    replica::{Core, Leadership, Metrics},
    types::Node,
    wire::Changed,
};

/// A learner that lacks no more than this has caught up.
const CAUGHT_UP: u64 = 1_000;
/// From so many voters on a joiner has to prove that it is steady: fewer cannot lose one anyway.
const STEADY_FROM: usize = 3;

/// How long a leader listens for those who would stay before it refuses a change.
const LISTEN: Duration = Duration::from_secs(2);

/// Since when each learner has kept up.
#[derive(Default)]
pub(crate) struct Steady(Mutex<BTreeMap<NodeId, Instant>>);

impl Steady {
    /// Takes note of a learner; answers since when it has kept up.
    fn note(&self, node: NodeId, keeps_up: bool) -> Option<Instant> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keeps_up {
            since.remove(&node);
            return None;
        }
        Some(*since.entry(node).or_insert_with(Instant::now))
    }
}

impl Core {
    /// The voter that has the most of the log.
    pub(crate) fn heir(&self) -> Option<NodeId> {
        let metrics = self.metrics();
        let replication = metrics.replication?;
        let others = metrics.membership_config.voter_ids().filter(|voter| *voter != self.config.node);
        others.max_by_key(|voter| replication.get(voter).copied().flatten())
    }
}

fn voters(metrics: &Metrics) -> BTreeSet<NodeId> {
    metrics.membership_config.membership().voter_ids().collect()
}

/// Whether a node has answered this leader within `lately`.
fn answers(core: &Core, metrics: &Metrics, node: NodeId, lately: Duration) -> bool {
    let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&node)).and_then(Option::as_ref);
    node == core.config.node || heard.is_some_and(|at| at.elapsed() <= lately)
}

fn answering(core: &Core, metrics: &Metrics, voters: &BTreeSet<NodeId>, lately: Duration) -> usize {
    voters.iter().filter(|voter| answers(core, metrics, **voter, lately)).count()
}

fn majority(voters: &BTreeSet<NodeId>) -> usize {
    voters.len() / 2 + 1
}

/// Voters that may be lost now before nothing can be written.
pub(crate) fn tolerance(core: &Core) -> usize {
    let metrics = core.metrics();
    let voters = voters(&metrics);
    answering(core, &metrics, &voters, core.config.election.1).saturating_sub(majority(&voters))
}

/// Whether a voter may stop voting: a majority of the others has to answer a heartbeat sent after this was asked.
/// What they answered before says nothing; a change that those who stay cannot commit would stop the group.
async fn may_leave(core: &Core, node: NodeId, force: bool) -> Result<(), Changed> {
    let asked = Instant::now();
    loop {
        let metrics = core.metrics();
        let mut stay = voters(&metrics);
        stay.remove(&node);
        if stay.is_empty() {
            return Err(Changed::Refused("the last voter cannot be taken away".into()));
        }
        let up = answering(core, &metrics, &stay, asked.elapsed());
        if force || up >= majority(&stay) {
            return Ok(());
        }
        if !core.leads() {
            return Err(Changed::NotNow);
        }
        if asked.elapsed() > LISTEN.max(core.config.election.1) {
            let others = stay.len();
            return Err(Changed::Refused(format!(
                "without node {node}, {up} of the {others} other voters answer, fewer than a majority: start them \
                 first, or force it"
            )));
        }
        tokio::time::sleep(core.config.heartbeat).await;
    }
}

/// Whether [`remove`] would be refused.
pub(crate) async fn may_remove(core: &Core, node: NodeId, force: bool) -> Changed {
    let metrics = core.metrics();
    if metrics.membership_config.get_node(&node).is_none() {
        return Changed::Refused(format!("node {node} is no member"));
    }
    if !voters(&metrics).contains(&node) {
        return Changed::Done;
    }
    may_leave(core, node, force).await.err().unwrap_or(Changed::Done)
}

/// Takes a node out of the group.
pub(crate) async fn remove(core: &Core, node: NodeId, force: bool) -> Changed {
    let metrics = core.metrics();
    if metrics.membership_config.get_node(&node).is_none() {
        // A removal counts once it is committed: until then another leader may undo it.
        let gone = metrics.committed_membership_config.get_node(&node).is_none();
        return if gone { Changed::Done } else { Changed::NotNow };
    }
    if !voters(&metrics).contains(&node) {
        let nodes = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        return told(core.raft.change_membership(nodes, false).await);
    }
    if let Err(verdict) = may_leave(core, node, force).await {
        return verdict;
    }
    if node == core.config.node {
        return abdicate(core).await;
    }
    told(core.raft.change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([node])), false).await)
}

/// Makes a learner of a voter, which stays one.
pub(crate) async fn demote(core: &Core, node: NodeId, force: bool) -> Changed {
    let metrics = core.metrics();
    let Some(about) = metrics.membership_config.get_node(&node).cloned() else { return no_member(node) };
    if !voters(&metrics).contains(&node) {
        return standby(core, node, about, true).await;
    }
    if let Err(verdict) = may_leave(core, node, force).await {
        return verdict;
    }
    if node == core.config.node {
        return abdicate(core).await;
    }
    // The mark first: between the two changes the autopilot would make it a voter again.
    match standby(core, node, about, true).await {
        Changed::Done => {
            let leave = ChangeMembers::RemoveVoters(BTreeSet::from([node]));
            told(core.raft.change_membership(leave, true).await)
        }
        other => other,
    }
}

/// Makes a voter of a learner.
pub(crate) async fn promote(core: &Core, node: NodeId) -> Changed {
    let metrics = core.metrics();
    let Some(about) = metrics.membership_config.get_node(&node).cloned() else { return no_member(node) };
    match standby(core, node, about, false).await {
        Changed::Done if voters(&metrics).contains(&node) => Changed::Done,
        Changed::Done if !keeps_up(core, &metrics, node) => {
            Changed::Refused(format!("node {node} has not caught up; it votes by itself once it has"))
        }
        Changed::Done => {
            let enter = ChangeMembers::AddVoterIds(BTreeSet::from([node]));
            told(core.raft.change_membership(enter, true).await)
        }
        other => other,
    }
}

fn no_member(node: NodeId) -> Changed {
    Changed::Refused(format!("node {node} is no member"))
}

async fn standby(core: &Core, node: NodeId, about: Node, standby: bool) -> Changed {
    if about.standby == standby {
        return Changed::Done;
    }
    let marked = ChangeMembers::SetNodes(BTreeMap::from([(node, Node { standby, ..about })]));
    told(core.raft.change_membership(marked, true).await)
}

/// The leader itself is to go: its heir performs the change.
async fn abdicate(core: &Core) -> Changed {
    let Some(heir) = core.heir() else { return Changed::Refused("no other voter can lead".into()) };
    if let Err(error) = core.raft.trigger().transfer_leader(heir).await {
        return Changed::Refused(error.to_string());
    }
    // While it hands over it sends no heartbeat: asked again now, it would hear from nobody.
    let mut leadership = core.leadership.subscribe();
    let gone = leadership.wait_for(|now| !matches!(now, Leadership::Leader { .. }));
    let _ = tokio::time::timeout(core.config.election.1 * 2, gone).await;
    Changed::NotNow
}

fn keeps_up(core: &Core, metrics: &Metrics, node: NodeId) -> bool {
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&node)).and_then(Option::as_ref);
    let last = metrics.last_log_index.unwrap_or(0);
    let close = matched.is_some_and(|matched| last.saturating_sub(matched.index) <= CAUGHT_UP);
    close && answers(core, metrics, node, core.config.election.1)
}

/// Time and again: makes voters of the learners that have kept up.
pub(crate) async fn autopilot(core: &Core) {
    if !core.leads() {
        return;
    }
    let metrics = core.metrics();
    if metrics.membership_config.get_joint_config().len() > 1 {
        // An earlier leader ended in the middle of a change: complete it, or two majorities count for ever.
        let _ = core.raft.change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), false).await;
        return;
    }
    let settled = voters(&metrics).len() >= STEADY_FROM;
    for learner in metrics.membership_config.membership().learner_ids() {
        let waits = metrics.membership_config.get_node(&learner).is_none_or(|about| about.standby);
        let Some(since) = core.steady.note(learner, !waits && keeps_up(core, &metrics, learner)) else {
            continue;
        };
        if settled && since.elapsed() < core.config.stabilization {
            continue;
        }
        let enter = ChangeMembers::AddVoterIds(BTreeSet::from([learner]));
        match core.raft.change_membership(enter, true).await {
            Ok(_) => tracing::info!(node = learner, "a learner has caught up and votes now"),
            Err(error) => tracing::debug!(node = learner, %error, "a learner was not promoted"),
        }
        return; // one at a time: each change is committed before the next
    }
}
