//! At most one node leads by a vote, which is its own and granted by a quorum. (The engine allows several leaders in
//! one term: its votes are ordered by term and node.)

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct OneLeaderPerVote {
    leaders: BTreeMap<(u64, NodeId), NodeId>,
}

impl Invariant for OneLeaderPerVote {
    fn name(&self) -> &'static str {
        "one_leader_per_vote"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Led { node, vote } = event else { return Ok(()) };
        let term = vote.leader_id.term;
        let first = self.leaders.insert((term, vote.leader_id.node_id), *node);
        if first.is_none_or(|first| first == *node) && vote.leader_id.node_id == *node && vote.committed {
            return Ok(());
        }
        Err(format!("node {node} leads by vote {vote}; node {first:?} leads or led by it"))
    }
}
