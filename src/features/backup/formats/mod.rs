//! What is put into a bucket, and what is recorded of a drill: formats, each verified when it is read.

mod catalogue;
mod drill;
mod segment;
mod vault;

pub use catalogue::{Catalogue, Image};
pub use drill::{Drill, Proven, Tested};
pub use segment::{
    SEGMENT_BYTES_MAX, SEGMENT_ENTRIES_MAX, decode as decode_segment, encode as encode_segment,
};
pub use vault::{RecoveryKey, Vault};
