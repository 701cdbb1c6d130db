//! ThreatFlow Enterprise: the enterprise features of a threat-intelligence platform, in one binary.
//!
//! The modules in reading order; each imports only from those above it.

// The lists: which commands, routes and jobs exist; the dispatcher that applies.
pub mod app;
// The command line, one file per subcommand.
pub mod cli;
// Commands on their way into the log, replies on their way out, reads.
pub mod cluster;
// The product, one slice a folder.
pub mod features;
// What the fuzz targets run.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
// Words: ids, time, actors, permissions, refusals, faults, secrets, pages.
pub mod kernel;
// The life of a process: configuration, start, drain, stop.
pub mod node;
// SQLite: one encrypted file per organization, and the system file.
pub mod store;
// The HTTP frame: callers, problems, pages, routes, limits.
pub mod web;
