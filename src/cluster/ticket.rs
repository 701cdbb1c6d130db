//! A ticket: who asks, from where, and under which request id. Minted at the edge.

use super::envelope::derived_id;
use crate::kernel::{Actor, Millis, Origin, OutboxId, RequestId};

/// Everything about a proposal but the command itself.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Who asks.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// The request id.
    pub request: RequestId,
    /// Digest of what was asked.
    pub fingerprint: String,
    /// When the actor last proved who it is, as its session's row said when it was recognised.
    pub proved_at: Option<Millis>,
}

impl Ticket {
    /// A ticket for the installation itself, under a request id that is the same at every retry.
    pub fn system(request: RequestId) -> Self {
        let (origin, fingerprint) = (Origin::default(), String::new());
        Self { actor: Actor::System, origin, request, fingerprint, proved_at: None }
    }

    /// A ticket that delivers an effect: keyed by it, so that twice is once.
    pub fn delivering(id: OutboxId, actor: Actor) -> Self {
        Self { actor, ..Self::system(RequestId(id.0)) }
    }

    /// The same ticket for another step of one request: its own id, the same at every retry.
    #[must_use]
    pub fn step(&self, name: &str) -> Self {
        Self { request: RequestId(derived_id(self.request.0, name)), ..self.clone() }
    }

    /// The same ticket, asked by somebody else, who has proved nothing.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self { actor, proved_at: None, ..self.clone() }
    }
}
