//! What is asked and how it is answered, counted by route. Atomics only.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the latency histogram, in milliseconds.
pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// The requests of one route.
#[derive(Debug, Default)]
pub struct Tally {
    /// Its method; empty for what no route serves.
    pub method: &'static str,
    /// Its path with the names of its parameters, never their values.
    pub route: String,
    classes: [AtomicU64; 5],
    limited: AtomicU64,
    within: [AtomicU64; BOUNDS_MS.len()],
    beyond: AtomicU64,
    micros: AtomicU64,
}

/// What a [`Tally`] held at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Answers by class of status: 1xx to 5xx.
    pub classes: [u64; 5],
    /// Answers 429.
    pub limited: u64,
    /// Answers within each of [`BOUNDS_MS`], those within a smaller one included.
    pub within: [u64; BOUNDS_MS.len()],
    /// All answers.
    pub count: u64,
    /// Microseconds they took altogether, from the head of the request to the head of the answer.
    pub micros: u64,
}

impl Tally {
    /// Counts an answer.
    pub fn add(&self, status: u16, took: Duration) {
        if let Some(class) = self.classes.get(usize::from(status / 100).saturating_sub(1)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        if status == 429 {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MS.iter().position(|bound| micros <= bound * 1_000);
        let bucket = place.and_then(|place| self.within.get(place)).unwrap_or(&self.beyond);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Tallied {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut tallied =
            Tallied { limited: load(&self.limited), micros: load(&self.micros), ..Tallied::default() };
        for (class, counter) in tallied.classes.iter_mut().zip(&self.classes) {
            *class = load(counter);
        }
        for (bucket, counter) in tallied.within.iter_mut().zip(&self.within) {
            tallied.count += load(counter);
            *bucket = tallied.count;
        }
        tallied.count += load(&self.beyond);
        tallied
    }
}

/// The tallies of all routes.
#[derive(Debug, Default)]
pub struct Traffic {
    routes: Mutex<Vec<Arc<Tally>>>,
}

impl Traffic {
    /// A new tally.
    pub fn tally(&self, method: &'static str, route: String) -> Arc<Tally> {
        let tally = Arc::new(Tally { method, route, ..Tally::default() });
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        tally
    }

    /// Every tally.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BOUNDS_MS, Tally};

    #[test]
    fn an_answer_counts_in_its_class_and_in_every_bound_that_it_kept() {
        let tally = Tally::default();
        for (status, ms) in [(200, 1), (204, 3), (429, 0), (503, 20_000), (999, 0)] {
            tally.add(status, Duration::from_millis(ms));
        }
        let read = tally.read();
        assert_eq!((read.classes, read.limited, read.count), ([0, 2, 0, 1, 1], 1, 5));
        assert_eq!(read.within, [3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!(read.micros, 20_004_000);
        assert!(BOUNDS_MS.is_sorted());
    }
}
