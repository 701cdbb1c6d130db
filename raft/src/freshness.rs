//! How old a follower's state may be.
//!
//! The leader tells with every message how far the log is committed. Once that much is visible here, the state
//! was complete at the moment the message came, and whatever happened since is younger than that.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a follower knows about its own age.
pub(crate) struct Freshness(Mutex<State>);

struct State {
    /// The leader was last heard then.
    heard: Instant,
    /// The state was complete then.
    complete: Instant,
    /// It will have been complete at this moment once this index is visible.
    awaited: Option<(u64, Instant)>,
}

impl Freshness {
    /// Of a node that has heard nothing yet: as old as its start.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { heard: now, complete: now, awaited: None }))
    }

    /// The leader said at `at` that the log is committed up to `committed`; `visible` is what readers see here.
    pub(crate) fn heard(&self, at: Instant, committed: u64, visible: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.heard = at;
        state.advance(visible);
        // What is awaited already comes first: under load the newest word is never reached.
        state.awaited.get_or_insert((committed, at));
        state.advance(visible);
    }

    /// How long no leader was heard at `now`; what it said may not be visible yet.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(state.heard)
    }

    /// The most that the state can be behind at `now`.
    pub(crate) fn age(&self, now: Instant, visible: u64) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(visible);
        now.saturating_duration_since(state.complete)
    }
}

impl State {
    fn advance(&mut self, visible: u64) {
        if let Some((_, at)) = self.awaited.take_if(|(committed, _)| *committed <= visible) {
            self.complete = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_as_old_as_the_last_word_that_is_visible_here() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let freshness = Freshness::new();
        freshness.heard(at(10), 7, 5);
        assert!(freshness.age(at(11), 6) > Duration::from_secs(10), "7 is not visible yet");
        freshness.heard(at(12), 9, 6);
        assert_eq!(freshness.age(at(13), 8), Duration::from_secs(3), "7 is visible, 9 is not yet");
        freshness.heard(at(14), 9, 9);
        assert_eq!(freshness.age(at(15), 9), Duration::from_secs(1));
        freshness.heard(at(20), 99, 9);
        assert!(freshness.age(at(21), 9) > Duration::from_secs(5), "99 is not visible yet");
        assert_eq!(freshness.silence(at(21)), Duration::from_secs(1), "but the leader was heard");
    }
}
