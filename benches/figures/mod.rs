//! One file for each figure.

pub mod access;
pub mod back;
pub mod backup;
pub mod checks;
pub mod cold;
pub mod crowd;
pub mod failover;
mod filled;
pub mod flood;
pub mod idle;
pub mod import;
pub mod lists;
pub mod login;
pub mod reads;
mod records;
pub mod rejoin;
pub mod restart;
pub mod restore;
pub mod rpo;
pub mod scrub;
pub mod startup;
pub mod stop;
pub mod tokens;
pub mod writes;

/// `1 node`, `3 nodes`.
fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}
