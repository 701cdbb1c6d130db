//! Pure rules: where things lie in a bucket, and what an operator may choose.

mod names;
mod policy;
mod until;

pub use names::{HEAD, Names};
pub use policy::Policy;
pub use until::Until;
