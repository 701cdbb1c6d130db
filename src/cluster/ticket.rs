//! A ticket: who asks, from where, and under which request id. Minted at the edge.

use super::envelope::derived_id;
use crate::kernel::{Actor, Origin, OutboxId, RequestId};

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
}

impl Ticket {
    /// A ticket for the installation itself, under a request id that is the same at every retry.
    pub fn system(request: RequestId) -> Self {
        Self { actor: Actor::System, origin: Origin::default(), request, fingerprint: String::new() }
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

    /// The same ticket, asked by somebody else.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }
}
