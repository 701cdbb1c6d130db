//! What must hold whatever happens, one invariant in a file of its own.
//!
//! Each sees every observation in order and answers the first that it cannot accept. None knows how the group
//! works, and none looks at more than the observations.

mod acknowledged_is_durable;
mod acknowledged_is_kept;
mod comes_together;
mod files_have_no_gap;
mod given_in_order;
mod logs_match;
mod nobody_halts;
mod one_leader_per_vote;
mod progress_never_falls;
mod reads_are_linearizable;
mod same_entries_everywhere;
mod stamps_never_fall;
mod votes_stand;

use super::event::Event;

/// What must hold.
pub(crate) trait Invariant: Send {
    /// Its name: the file's.
    fn name(&self) -> &'static str;
    /// Takes note of an observation; answers what is wrong with it.
    fn see(&mut self, event: &Event) -> Result<(), String>;
}

/// A fresh one of each.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<acknowledged_is_durable::AcknowledgedIsDurable>::default(),
        Box::<acknowledged_is_kept::AcknowledgedIsKept>::default(),
        Box::<comes_together::ComesTogether>::default(),
        Box::<files_have_no_gap::FilesHaveNoGap>::default(),
        Box::<given_in_order::GivenInOrder>::default(),
        Box::<logs_match::LogsMatch>::default(),
        Box::<nobody_halts::NobodyHalts>::default(),
        Box::<one_leader_per_vote::OneLeaderPerVote>::default(),
        Box::<progress_never_falls::ProgressNeverFalls>::default(),
        Box::<reads_are_linearizable::ReadsAreLinearizable>::default(),
        Box::<same_entries_everywhere::SameEntriesEverywhere>::default(),
        Box::<stamps_never_fall::StampsNeverFall>::default(),
        Box::<votes_stand::VotesStand>::default(),
    ]
}
