//! Background work, watched: whatever panics in it is seen by somebody.

use std::{any::Any, convert::Infallible, future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::Cluster;
use crate::kernel::Fault;

/// Jobs, each with a name, which run as long as this lives.
///
/// One that panics halts its node, as every fault does: what it was there for would not be done any more, and nobody
/// would know. What a job reads of a world that may be wrong (a bucket) it reads within [`caught`], since the next
/// leader would meet the same.
pub struct Tasks {
    cluster: Cluster,
    running: JoinSet<()>,
}

impl Tasks {
    /// None yet.
    pub fn of(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), running: JoinSet::new() }
    }

    /// Starts a job, which never ends by itself.
    pub fn spawn(&mut self, name: impl Into<String>, job: impl Future<Output = Infallible> + Send + 'static) {
        let (name, cluster) = (name.into(), self.cluster.clone());
        self.running.spawn(async move {
            let Err(panic) = caught(&name, job).await;
            cluster.halt(Fault::found(format!("the job \"{name}\" panicked: {panic}")));
        });
    }

    /// Stops them all; what one was doing is done or will be done again.
    pub async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

/// Does work that may panic; if it does, answers what the panic said. Where it was is on stderr.
pub async fn caught<T>(name: &str, work: impl Future<Output = T>) -> Result<T, String> {
    let caught = AssertUnwindSafe(amid(name, work)).catch_unwind().await;
    caught.map_err(|panic| said(panic.as_ref()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}

/// The work; amid it, a panic that a test asks for.
#[cfg(debug_assertions)]
#[allow(clippy::panic)] // it is what is asked for
async fn amid<T>(name: &str, work: impl Future<Output = T>) -> T {
    let bug = format!("panic in {name}");
    let struck = async {
        while !raft::planted(&bug) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = struck => std::panic::panic_any("planted"),
    }
}

#[cfg(not(debug_assertions))]
async fn amid<T>(_: &str, work: impl Future<Output = T>) -> T {
    work.await
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::caught;

    #[tokio::test]
    async fn a_panic_is_answered_with_its_words_and_what_ends_well_as_it_is() {
        assert_eq!(caught("a", async { 7 }).await, Ok(7));
        let formatted = 8;
        assert_eq!(
            caught("b", async { assert!(formatted == 7, "{formatted} is not 7") }).await,
            Err("8 is not 7".to_owned())
        );
        assert_eq!(
            caught("c", async { std::panic::panic_any(7) }).await,
            Err::<(), _>("it did not say why".to_owned())
        );
    }
}
