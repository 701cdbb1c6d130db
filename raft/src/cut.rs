//! Cutting a node's log by hand: what must not be readable any more goes before its time.

use std::{sync::atomic::Ordering, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{contract::Unavailable, replica::Replica};

/// Between two requests to the engine.
const AGAIN: Duration = Duration::from_millis(100);

impl Replica {
    /// Cuts this node's log up to `index`, after a checkpoint that covers it and when nobody holds it any more.
    pub async fn purge(&self, index: u64, within: Duration) -> Result<(), Unavailable> {
        let until = Instant::now() + within;
        self.wait_applied(index, within).await?;
        self.checkpoint(until.saturating_duration_since(Instant::now())).await?;
        while self.core.held.load(Ordering::SeqCst) <= index {
            if Instant::now() >= until {
                return Err(Unavailable::OutcomeUnknown);
            }
            sleep(AGAIN).await;
        }
        let raft = &self.core.raft;
        let mut metrics = raft.metrics();
        while metrics.borrow_watched().purged.is_none_or(|purged| purged.index < index) {
            if Instant::now() >= until {
                return Err(Unavailable::OutcomeUnknown);
            }
            // Asked again and again: the engine lets it be while it does not know of the checkpoint yet, or still
            // sends these entries to a follower.
            raft.trigger().purge_log(index).await.map_err(|_| Unavailable::Halted)?;
            let pause = until.min(Instant::now() + AGAIN);
            if let Ok(changed) = timeout_at(pause, metrics.changed()).await {
                changed.map_err(|_| Unavailable::Halted)?;
            }
        }
        Ok(())
    }
}
