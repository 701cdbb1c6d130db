//! A value and its changes: tokio's `watch`, which in the simulation wakes those who wait in the order in which
//! they came, and not in a random one.

#[cfg(test)]
pub(crate) use crate::sim::watch::{Receiver, Sender};
#[cfg(not(test))]
pub(crate) use tokio::sync::watch::{Receiver, Sender};
