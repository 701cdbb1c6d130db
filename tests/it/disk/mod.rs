//! Disks that fill up, fail, turn read-only, lose files or lie about them, under real processes.
//!
//! What is claimed: the node stops or repairs as designed, never answers wrongly, and says in one line
//! what happened and what to do. While others go on, four clients check every answer ([`load`]).
//! Start at `full.rs`; `nodes.rs` starts processes one by one, `faults.rs` makes their disks fail.

mod damage;
mod failing;
mod faults;
mod full;
mod load;
mod lost;
mod mounts;
mod nodes;
