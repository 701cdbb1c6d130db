//! Tests of the log. They live here and not in `raft/tests` because neither the disk trait nor the
//! engine's types leave this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

mod basics;
mod crash;
mod damage;
mod format;
mod model;
mod pace;
mod suite;

use super::fake;
use crate::sim::Chance;
