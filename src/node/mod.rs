//! The life of a process: configuration, start, serving, drain, stop.
//!
//! Owns the data folder: who may use it, what lies in it, and how a node comes to belong to a cluster.
//!
//! What always holds:
//! - one process uses a data folder at a time;
//! - a node begins a cluster, or joins one, wholly or not at all: a start that was cut short is undone by
//!   the next one, and nothing is served before the end of it;
//! - after a fault nothing is answered: one line on stderr, exit code 70;
//! - a clean stop hands the leadership over and drains requests before it ends.
//!
//! Must not know: what requests and commands mean. Start at `life.rs`, then `founding.rs`.

mod admission;
pub mod config;
mod doctor;
mod failure;
mod folder;
mod founding;
mod health;
mod life;
mod limits;
mod logging;
mod metrics;
mod password;
mod recovery;
mod restore;
mod server;
mod signals;
mod unread;
mod unseal;
mod vault;

pub use config::NodeConfig;
pub use doctor::{Finding, Weight, examine};
pub use failure::Failure;
pub use folder::{PASSWORD_FILE, is_member, reseal};
pub use founding::ADMIN_EMAIL;
pub use life::{Parent, run};
pub use recovery::recovery_statement;
pub use restore::{Restore, Restored};
pub use signals::Wishes;
pub use unseal::open_sealed;
pub use vault::Seal;
