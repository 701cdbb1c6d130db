//! Faults: this node failed. No verdict exists; the node halts and answers nobody.

use std::{error::Error, fmt};

/// What was attempted on this node, and why it did not work.
#[derive(Debug)]
pub struct Fault {
    attempt: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault with the error that caused it; `attempt` reads like "open tenants/….db".
    pub fn new(attempt: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { attempt: attempt.into(), cause: Some(cause.into()) }
    }

    /// A fault found by a check of our own.
    pub fn found(what: impl Into<String>) -> Self {
        Self { attempt: what.into(), cause: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(out, "{}: {cause}", self.attempt),
            None => out.write_str(&self.attempt),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}
