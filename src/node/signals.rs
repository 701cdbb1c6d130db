//! When to stop: a signal, or the end of the parent.

use std::{io::Read, thread};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{Failure, life::Parent};
use crate::kernel::Fault;

/// Wishes to stop, one after the other.
pub struct Wishes {
    terminate: Signal,
    interrupt: Signal,
    /// Ends when the parent does.
    parent: mpsc::Receiver<()>,
    /// Whether the parent's end is still a wish: it is none once somebody asked, since a supervisor that
    /// stops all of us at once must not look like a second, impatient signal.
    heeds_parent: bool,
}

impl Wishes {
    /// Listens from now on.
    pub fn listen(parent: Parent) -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|error| Fault::new("listen for signals", error));
        let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        let (alive, parent_lives) = mpsc::channel(1);
        let heeds_parent = parent == Parent::HoldsStdin;
        if heeds_parent {
            thread::spawn(move || {
                wait_for_end_of_stdin();
                drop(alive);
            });
        }
        Ok(Self { terminate, interrupt, parent: parent_lives, heeds_parent })
    }

    /// The next wish.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("stopping: terminated"),
            _ = self.interrupt.recv() => tracing::info!("stopping: interrupted"),
            _ = self.parent.recv(), if self.heeds_parent => tracing::info!("stopping: the parent process is gone"),
        }
        self.heeds_parent = false;
    }
}

/// The parent holds the other end of the pipe and never writes; the kernel closes it when the parent dies.
fn wait_for_end_of_stdin() {
    let mut byte = [0];
    while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
}
