//! Backup: what an organization needs to come back, kept outside of the cluster.
//!
//! Owns the words *chain*, *snapshot*, *target*, *bucket*. Per organization a chain of LTX files that litestream 0.5
//! restores unchanged, and an archive of the replicated log, in one or more buckets. Pages come here encrypted and stay
//! so: whoever holds a bucket holds no plaintext.
//!
//! What always holds: an object has one content for ever, since objects are created and never rewritten (few that say
//! what is current excepted, which are rewritten under a condition); numbers of transactions are indexes of the log.
//!
//! Must not know: what is in the files. Start reading at `ltx/mod.rs` for the format, at `bucket/mod.rs` for where it goes.

pub mod bucket;
pub mod ltx;
