//! Waiting for a file that a restore is still fetching.
//!
//! An entry for such a file is proposed only once the file is here, so apply never meets one that is not.

use std::time::Duration;

use tokio::time::timeout;

use super::{Cluster, Unanswered};
use crate::{kernel::OrgId, store::Wanted};

/// How long whoever asks for a file waits for it.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

impl Cluster {
    /// Waits until `file` is here, which lets it pass those that nobody asks for.
    pub(super) async fn await_arrival(&self, file: OrgId) -> Result<(), Unanswered> {
        if !self.store().is_awaited(file) {
            return Ok(());
        }
        let mut arrivals = self.store().arrivals();
        let arrived = async {
            loop {
                arrivals.mark_unchanged();
                match self.store().want(file) {
                    Wanted::Here => return Ok(()),
                    Wanted::Failing => return Err(Unanswered::NotRestored),
                    Wanted::Stalled => return Err(Unanswered::Awaited),
                    Wanted::Coming => {}
                }
                // Its sender lives as long as the store.
                let _ = arrivals.changed().await;
            }
        };
        timeout(ARRIVES_WITHIN, arrived).await.unwrap_or(Err(Unanswered::Awaited))
    }
}
