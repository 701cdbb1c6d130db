//! Driving an import: chunk after chunk through the log, until all is in or one is refused.

use std::sync::Arc;

use crate::{
    cluster::{Answer, Cluster, Command, Ticket, Unanswered},
    features::intel::{
        commands::{ImportChunk, StopImport},
        model::{Bundle, Import, ImportState, cut},
    },
    kernel::{Actor, Fault, OrgId, Refusal},
    web::Problem,
};

/// A proposal waits for a leader by itself; beyond this many the cluster is gone, not changing leaders.
const TRIES_MAX: usize = 3;

/// What an import needs to go on without its request.
pub(super) struct Drive {
    pub(super) cluster: Cluster,
    pub(super) ticket: Ticket,
    pub(super) org: OrgId,
    pub(super) bundle: Arc<Bundle>,
}

impl Drive {
    /// Goes on from where the import stands. One chunk at a time: each is whole, and the next builds on it.
    pub(super) async fn run(self, begun: Answer<Import>) -> Result<Answer<Import>, Problem> {
        let mut last = begun;
        while last.reply.state != ImportState::Done {
            let before = last.reply.clone();
            last = match self.step(&before).await {
                Ok(after) if after.reply.seen > before.seen => after,
                Ok(_) => return Err(Self::standing(&before, stuck(&before).into())),
                Err(Unanswered::Refused { refusal, replayed }) => {
                    self.stop(&before, refusal.clone()).await;
                    return Err(Self::standing(&before, Unanswered::Refused { refusal, replayed }.into()));
                }
                Err(other) => return Err(Self::standing(&before, other.into())),
            };
        }
        tracing::info!(
            organization.id = %self.org, import.id = %last.reply.id, objects = last.reply.total,
            "imported a bundle"
        );
        Ok(last)
    }

    /// Proposes the next chunk. Its request id follows from the request and the place, so that a retry is once.
    async fn step(&self, import: &Import) -> Result<Answer<Import>, Unanswered> {
        let from = usize::try_from(import.seen).unwrap_or(usize::MAX);
        let objects = cut(&self.bundle.objects, from).to_vec();
        let chunk = ImportChunk { job: import.id, from: import.seen, objects };
        self.propose(&self.ticket.step(&format!("chunk-{}", import.seen)), &chunk).await
    }

    /// Says in the job why it stands still. Nobody waits for this: a failure is logged, and the job is resumable anyway.
    async fn stop(&self, import: &Import, reason: Refusal) {
        let ticket = self.ticket.step(&format!("stop-{}", import.seen)).by(Actor::System);
        let command = StopImport { job: import.id, seen: import.seen, reason };
        if let Err(error) = self.propose(&ticket, &command).await {
            let error = Problem::from(error).detail;
            tracing::warn!(import.id = %import.id, error, "an import that was refused is not marked as stopped");
        }
    }

    async fn propose<C: Command>(
        &self,
        ticket: &Ticket,
        command: &C,
    ) -> Result<Answer<C::Reply>, Unanswered> {
        let mut tries = 1;
        loop {
            match self.cluster.propose(ticket, self.org, command).await {
                Err(Unanswered::NoQuorum | Unanswered::OutcomeUnknown) if tries < TRIES_MAX => tries += 1,
                other => return other,
            }
        }
    }

    /// Tells the client what is in and what to send again.
    fn standing(import: &Import, problem: Problem) -> Problem {
        problem.with("import", import.id.to_string()).with("seen", import.seen).with("total", import.total)
    }
}

fn stuck(import: &Import) -> Fault {
    Fault::found(format!("import {} was answered and did not move from {}", import.id, import.seen))
}
