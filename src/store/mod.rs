//! The store: one encrypted SQLite file per organization, and the system file.
//!
//! Owns the table `spine_state`: each file's own watermark, its level and the sum of its rows, written in the
//! transaction that moves them.
//!
//! What always holds:
//! - each file belongs to one share and one thread writes to a share (apply), each file in one transaction for
//!   many batches; readers never block it;
//! - no fsync per commit: the Raft log is the durable record, [`Store::checkpoint`] makes the files
//!   durable in the background, and the log is purged only below a checkpoint;
//! - the level of the system file is the level in force; no other file is above it, and none ever falls;
//! - a file that is damaged here, or differs from what other nodes hold, is in quarantine: nobody is answered
//!   from it (`sum.rs`, `scrub.rs`, `quarantine.rs`, `replace.rs`);
//! - a file that a restore is still fetching exists and is not here: nothing is answered from it, nothing applied
//!   to it (`awaited.rs`);
//! - every file has its own raw key, wrapped by the cluster key; a file without its key is noise, and so is what
//!   the log says of it.
//!
//! Must not know: what the rows mean, HTTP, consensus. Start reading at `files.rs`.

mod awaited;
mod banned;
mod capture;
mod checkpoint;
mod counters;
mod destroy;
mod digest;
mod durable;
mod epochs;
mod filekeys;
mod files;
mod keyring;
mod level;
mod marks;
mod migrate;
mod open;
mod quarantine;
mod readers;
mod rekey;
mod replace;
mod replacement;
mod room;
mod scrub;
mod shares;
mod snapshot;
mod standings;
mod stop;
mod sum;
mod unseal;
mod writer;

pub use awaited::{Arrived, Awaited, Wanted, expect};
pub use capture::{Captured, Pages};
pub use counters::Counters;
pub use digest::digest;
pub use durable::{read_if_present, remove_folder, write_secret};
pub use epochs::Epoch;
pub use filekeys::{SealedEntry, key_text, moved_lines};
pub use files::Store;
pub use keyring::{Generation, Keep, Keyring, WrappedKey, generation_of};
pub use level::level_of;
pub use migrate::{LEVEL, REHEARSAL, VERSION, schema, since, unknown_level};
pub use quarantine::{Alarm, Found, Held, Quarantined};
pub use replacement::{Replacement, take_rows};
pub use room::Room;
pub use scrub::Scrubbed;
pub use snapshot::{Mark, lay};
pub use standings::Standing;
pub use stop::Stop;
pub use sum::Sum;
pub use unseal::unseal_copy;
pub use writer::{FileState, Writer, Writers};
