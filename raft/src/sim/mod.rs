//! A whole group in one thread, in virtual time: consensus, log, transport and a model machine, under trouble that
//! is drawn from a seed.
//!
//! Real are the consensus engine and its settings, [`Replica`](crate::Replica) with proposals, read barriers and
//! changes of the membership, the host of the machine with its checkpoints and snapshots, the messages and what
//! answers them, and the log down to its file operations. In the place of the rest:
//! - `world.rs`, `fake.rs` of the log: a disk that loses or tears what was not synced when the power goes;
//! - `network.rs`: messages that come late, twice, out of order or not at all, in one direction or both;
//! - `machine.rs`: a machine of four lists; `client.rs`: those who write and read them;
//! - `nemesis.rs`: power cuts, partitions, bad weather, slow and broken disks, clocks that jump, transfers, joins,
//!   removals, demotions, promotions.
//!
//! What always holds:
//! - one thread, virtual time, one source of randomness for each who draws: a seed runs the same way every time,
//!   event by event (`watch.rs`, `runtime.rs`; [`runs_here`] is what the rest of the crate asks);
//! - everything observed is an [`Event`](event::Event); the invariants, one in each file of `invariants/`, see
//!   nothing else;
//! - what happens on a node after its power was cut is no observation.
//!
//! A failure prints its seed and `TF_TEST_SEED=<seed> cargo test -p threatflow-raft --lib a_thousand_seeds --
//! --nocapture`, which runs that seed alone and prints every event. `TF_TEST_ALL=1` goes on after a failure.
//!
//! Not simulated: TLS and connections (their tests are in `wire/`), threads, joins by token, damage to bytes that
//! were synced.
//!
//! Start at `run.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

mod chance;
mod client;
mod event;
mod invariants;
mod ledger;
mod machine;
mod nemesis;
mod network;
mod run;
pub(crate) mod runtime;
mod tests;
pub(crate) mod watch;
mod world;

use std::{
    cell::RefCell,
    hash::{BuildHasher, RandomState},
};

use tokio::time::Instant;

pub(crate) use chance::Chance;

/// Virtual time zero, in milliseconds since the epoch.
const EPOCH_MS: u64 = 1_750_000_000_000;

struct Here {
    engine: Chance,
    began: Instant,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// While it lives, a simulation runs on this thread.
struct Begun;

impl Begun {
    fn new(seed: u64, runtime: &tokio::runtime::Runtime) -> Self {
        let _inside = runtime.enter();
        let here = Here { engine: Chance(seed ^ 0x656e_6769_6e65), began: Instant::now() };
        HERE.set(Some(here));
        Self
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Whether a simulation runs on this thread.
pub(crate) fn runs_here() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// Virtual time while a simulation runs on this thread.
pub(crate) fn now_ms() -> Option<u64> {
    HERE.with_borrow(|here| here.as_ref().map(|here| EPOCH_MS + here.began.elapsed().as_millis() as u64))
}

/// Randomness of the consensus engine.
fn engine_random() -> u64 {
    HERE.with_borrow_mut(|here| match here {
        Some(here) => here.engine.next(),
        None => RandomState::new().hash_one(0),
    })
}
