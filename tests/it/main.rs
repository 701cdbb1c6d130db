//! The one integration binary: real processes, real HTTP, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::pedantic,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod harness;

mod access;
mod audit;
mod authzen;
mod backup;
mod bad_input;
mod cluster;
mod disk;
mod divergence;
mod domains;
mod factors;
mod faults;
mod forward;
mod goldens;
mod hung;
mod identity;
mod intel;
mod jobs;
mod keys;
mod logging;
mod matrix;
mod membership;
mod openapi;
mod operations;
mod organizations;
mod quotas;
mod rejoin;
mod scripts;
mod sessions;
mod tidy;
mod upgrade;
mod workspace;
