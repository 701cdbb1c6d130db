//! How far behind a follower is in time: since when it lacks what it lacks.
//!
//! Every node notes now and then where its log ends. A follower that holds entries up to some index is behind
//! since the first note above it. Notes are taken at [`EVERY`], so that is how exact the answer is, and a lag that
//! began since the last note counts as none.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Time between two notes.
pub(crate) const EVERY: Duration = Duration::from_millis(200);
/// Notes kept, of moments at which the end had moved: at least 13 minutes.
const NOTES: usize = 4_096;

/// Where the log ended when.
#[derive(Default)]
pub(crate) struct Ends(Mutex<VecDeque<(Instant, u64)>>);

impl Ends {
    /// Takes note of the last index of the log.
    pub(crate) fn note(&self, now: Instant, last: u64) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log whose tail was cut: those ends were never acknowledged.
        while notes.back().is_some_and(|(_, noted)| *noted > last) {
            notes.pop_back();
        }
        if notes.back().is_some_and(|(_, noted)| *noted == last) {
            return;
        }
        if notes.len() == NOTES {
            notes.pop_front();
        }
        notes.push_back((now, last));
    }

    /// How long ago the log first ended above `matched`; zero when it does not, as far as was noted. Of a
    /// follower that is further behind than the notes go, the least that it can be.
    pub(crate) fn behind(&self, now: Instant, matched: u64) -> Duration {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = notes.partition_point(|(_, last)| *last <= matched);
        notes.get(first).map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ends, Instant, NOTES};

    #[test]
    fn a_follower_is_behind_since_the_first_entry_it_lacks() {
        let (ends, start) = (Ends::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (ms, last) in [(0, 10), (200, 10), (400, 15), (600, 20)] {
            ends.note(at(ms), last);
        }
        let behind = |matched| u64::try_from(ends.behind(at(1_000), matched).as_millis()).unwrap_or_default();
        assert_eq!(
            [behind(20), behind(25), behind(17), behind(15), behind(10), behind(3)],
            [0, 0, 400, 400, 600, 1_000]
        );
        ends.note(at(700), 12);
        assert_eq!(behind(11), 300, "what was cut is forgotten");
    }

    #[test]
    fn old_notes_make_room() {
        let (ends, start) = (Ends::default(), Instant::now());
        for last in 0..(NOTES as u64 + 10) {
            ends.note(start + Duration::from_millis(last), last);
        }
        assert_eq!(ends.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len(), NOTES);
        assert_eq!(ends.behind(start + Duration::from_millis(4_106), 0).as_millis(), 4_096);
    }
}
