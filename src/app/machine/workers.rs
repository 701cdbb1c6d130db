//! Threads that apply beside the one that was called, each with a share of the files to itself.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use crate::kernel::Fault;

type Task = Box<dyn FnOnce() + Send>;

/// As many threads as there are shares beyond the first; they end when this is dropped.
pub(super) struct Workers {
    inboxes: Vec<Sender<Task>>,
}

impl Workers {
    /// Starts what is needed for `shares`.
    pub(super) fn start(shares: usize) -> Result<Self, Fault> {
        let inboxes = (1..shares).map(worker).collect::<Result<_, _>>()?;
        Ok(Self { inboxes })
    }

    /// Runs `work` on every part at the same time, the first on this thread, and waits for all. Answers in the
    /// order of `parts`.
    pub(super) fn run<P, T>(
        &self,
        parts: Vec<P>,
        work: impl Fn(P) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Fault>
    where
        P: Send + 'static,
        T: Send + 'static,
    {
        let mut parts = parts.into_iter();
        let Some(own) = parts.next() else { return Ok(Vec::new()) };
        let mut answers: Vec<Receiver<T>> = Vec::with_capacity(parts.len());
        for (part, inbox) in parts.zip(&self.inboxes) {
            let (answer, answered) = mpsc::channel();
            let work = work.clone();
            // If nobody takes it, `answered` says so.
            let _ = inbox.send(Box::new(move || drop(answer.send(work(part)))));
            answers.push(answered);
        }
        let own = work(own);
        let ended = |_| Fault::found("an apply worker has ended");
        std::iter::once(Ok(own))
            .chain(answers.into_iter().map(|answered| answered.recv().map_err(ended)))
            .collect()
    }
}

fn worker(number: usize) -> Result<Sender<Task>, Fault> {
    let (inbox, tasks) = mpsc::channel::<Task>();
    thread::Builder::new()
        .name(format!("apply-{number}"))
        .spawn(move || tasks.into_iter().for_each(|task| task()))
        .map_err(|error| Fault::new("start an apply worker", error))?;
    Ok(inbox)
}
