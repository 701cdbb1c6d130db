//! Questions that the application of one member asks the application of another, outside the log.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    contract::NodeId,
    replica::Replica,
    wire::{client::Lane, kind},
};

impl Replica {
    /// Asks the application of a member, this node included, a question that only it understands.
    pub async fn ask(&self, node: NodeId, question: Bytes, within: Duration) -> Result<Bytes, String> {
        self.ask_on(Lane::Raft, node, question, within).await
    }

    /// As [`Replica::ask`], for long answers: they never stand before a heartbeat.
    pub async fn fetch(&self, node: NodeId, question: Bytes, within: Duration) -> Result<Bytes, String> {
        self.ask_on(Lane::Bulk, node, question, within).await
    }

    async fn ask_on(
        &self,
        lane: Lane,
        node: NodeId,
        question: Bytes,
        within: Duration,
    ) -> Result<Bytes, String> {
        let core = &self.core;
        if node == core.config.node {
            return core.application.answer(node, question).await;
        }
        let metrics = core.metrics();
        let known = metrics.membership_config.get_node(&node);
        let known = known.ok_or_else(|| format!("node {node} is not a member"))?;
        let link = core.peers.link(node, &known.peer_address, lane);
        link.call(kind::ASK, &question, within).await.map_err(|error| error.to_string())
    }
}
