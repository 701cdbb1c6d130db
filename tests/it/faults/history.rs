//! What clients asked and were told, and the rules it is judged by.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What a client asked of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Add to a counter, within its limit.
    Add(i64),
    /// Read a counter.
    Count,
    /// Give an organization a name, if its version is still the one seen.
    Rename { seen: i64, name: String },
    /// Read an organization's version and name.
    Row,
    /// Create an organization with this slug.
    Claim,
    /// Look whether the slug exists.
    Look,
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The counter's value, after the addition if there was one.
    Total(i64),
    /// Done.
    Done,
    /// The rules said no: over the limit, another version, a taken slug.
    Refused,
    Row {
        version: i64,
        name: String,
    },
    Exists(bool),
    /// No answer: it may happen at any time from the call on, or never.
    Unknown,
}

/// What a key is: the state that its operations see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// `limit` is -1 where there is none.
    Counter {
        value: i64,
        limit: i64,
    },
    Row {
        version: i64,
        name: String,
    },
    Slug {
        taken: bool,
    },
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Event {
    pub client: usize,
    pub key: String,
    pub act: Act,
    pub said: Said,
    /// When it was asked and answered, since the history began.
    pub called: Duration,
    pub answered: Duration,
}

impl State {
    /// The state after `act`, if a register with this state may say `said` to it.
    pub fn step(&self, act: &Act, said: &Said) -> Option<Self> {
        let (after, would_say) = self.run(act)?;
        (*said == Said::Unknown || *said == would_say).then_some(after)
    }

    /// What one register alone would do and say.
    fn run(&self, act: &Act) -> Option<(Self, Said)> {
        Some(match (self, act) {
            (Self::Counter { value, limit }, Act::Add(amount)) => {
                let after = value + amount;
                if after < 0 || (*amount > 0 && *limit >= 0 && after > *limit) {
                    (self.clone(), Said::Refused)
                } else {
                    (Self::Counter { value: after, limit: *limit }, Said::Total(after))
                }
            }
            (Self::Counter { value, .. }, Act::Count) => (self.clone(), Said::Total(*value)),
            (Self::Row { version, .. }, Act::Rename { seen, .. }) if version != seen => {
                (self.clone(), Said::Refused)
            }
            (Self::Row { version, .. }, Act::Rename { name, .. }) => {
                (Self::Row { version: version + 1, name: name.clone() }, Said::Done)
            }
            (Self::Row { version, name }, Act::Row) => {
                (self.clone(), Said::Row { version: *version, name: name.clone() })
            }
            (Self::Slug { taken: true }, Act::Claim) => (self.clone(), Said::Refused),
            (Self::Slug { taken: false }, Act::Claim) => (Self::Slug { taken: true }, Said::Done),
            (Self::Slug { taken }, Act::Look) => (self.clone(), Said::Exists(*taken)),
            _ => return None,
        })
    }
}

/// Collects events against one clock.
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Writes the history of a run where whoever looks into it finds it; the one before is gone.
pub fn keep(name: &str, seed: u64, events: &[Event]) -> PathBuf {
    let mut text = format!("# {name}, seed {seed}: called, answered (ms), client, key, act, said\n");
    for event in events {
        let (called, answered) =
            (event.called.as_secs_f64() * 1_000.0, event.answered.as_secs_f64() * 1_000.0);
        let Event { client, key, act, said, .. } = event;
        writeln!(text, "{called:10.3} {answered:10.3} {client:3} {key} {act:?} {said:?}").unwrap();
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{name}.txt"));
    std::fs::write(&path, text).unwrap();
    path
}
