//! Where work runs that may block.

use crate::contract::Fault;

/// Runs work that may block beside the runtime's own threads.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    #[cfg(test)]
    if crate::sim::runs_here() {
        return Ok(work()); // the simulation has one thread, and what is done there is done in one order
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::new("run work that may block", error))
}
