//! Commands, by what they are about.

mod domains;
mod sessions;

pub use domains::{
    ClaimDomain, Method, ProjectDomain, ProveDomain, ReleaseDomain, UnprojectDomain, attest, forget_domains,
};
pub use sessions::{DemandPassword, OpenSession, Recover, RefuseLogin};
