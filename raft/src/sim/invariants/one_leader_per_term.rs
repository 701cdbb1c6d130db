//! At most one node leads in a term.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::contract::NodeId;

#[derive(Default)]
pub(super) struct OneLeaderPerTerm {
    leaders: BTreeMap<u64, NodeId>,
}

impl Invariant for OneLeaderPerTerm {
    fn name(&self) -> &'static str {
        "one_leader_per_term"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Led { node, vote } = event else { return Ok(()) };
        let term = vote.leader_id.term;
        let known = *self.leaders.entry(term).or_insert(*node);
        if known == *node && vote.leader_id.node_id == *node {
            return Ok(());
        }
        Err(format!("node {node} leads by vote {vote}, and node {known} leads or led in term {term}"))
    }
}
