//! The product, one slice a folder; `ls` here is its table of contents.
//!
//! Every slice has the same rooms in the same order: `model` (pure rules), `commands` (apply), `queries`
//! (every SELECT), `http` (routes), `jobs` (leader-only work). A slice uses another only through the
//! verbs in its `mod.rs`, and only those above it here.

pub mod access;
pub mod audit;
pub mod backup;
pub mod factors;
pub mod forward;
pub mod identity;
pub mod intel;
pub mod keys;
pub mod login;
pub mod membership;
pub mod organizations;
pub mod quotas;
pub mod sessions;
pub mod workspace;
