//! Commands on their way into the log and replies on their way out.
//!
//! Owns the words *command*, *envelope*, *ticket*, *outcome*, *level*, and the tables `spine_replies`
//! and `spine_outbox`.
//!
//! What always holds: a command names one file; every proposal has a request id, and repeating it
//! answers the remembered reply; an effect on another file travels by the outbox.
//!
//! Must not know: which commands exist (`app/commands.rs` lists them), HTTP. Start at `command.rs`.

mod about;
mod arrival;
mod command;
mod copies;
mod envelope;
mod handle;
mod keys;
mod level;
mod outbox;
mod outcome;
pub mod process;
mod question;
mod replies;
mod tasks;
mod ticket;
mod turns;
mod verdict;

pub use about::About;
pub use command::{Apply, Asks, Command, Kind, Left, Note, Trail};
pub use copies::Copied;
pub use envelope::{Envelope, Sent};
pub use handle::{Cluster, Unanswered, View};
pub use keys::{KeyReport, KeyText, MintedKey};
pub use level::{RaiseFile, Rehearse};
pub use outbox::{Delivered, ForgetSent, pending, pending_since, store_sent};
pub use outcome::{Answer, Outcome, WITHHELD};
pub use question::{Doubt, Joiner, Question, Stood};
pub use raft::{ChangeError, Step as AuthorityStep};
pub use replies::{PruneReplies, Remembered, keep_replies, recall, remember};
pub use tasks::{Tasks, caught};
pub use ticket::Ticket;
pub use verdict::{Verdict, judge};
