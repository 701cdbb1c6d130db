//! What a node has voted stands: after a power cut it comes up with that vote or a higher one.

use std::collections::BTreeMap;

use super::{Event, Invariant};
use crate::{contract::NodeId, types::Vote};

#[derive(Default)]
pub(super) struct VotesStand {
    votes: BTreeMap<NodeId, Vote>,
}

impl Invariant for VotesStand {
    fn name(&self) -> &'static str {
        "votes_stand"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            // What a refusal says may be on its way to the disk yet: nobody counts on it.
            Event::Voted { node, vote, granted: true } | Event::Followed { node, vote } => {
                let known = self.votes.entry(*node).or_insert(*vote);
                if *known < *vote {
                    *known = *vote;
                }
                Ok(())
            }
            Event::Started { node, vote, .. } => match self.votes.get(node) {
                Some(known) if vote.is_none_or(|vote| vote < *known) => {
                    Err(format!("node {node} came up with vote {vote:?}; it had voted {known}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
