//! What clients asked and were told, and the rules it is judged by.

use std::{
    collections::BTreeMap,
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

/// All that happened, on one clock.
pub struct History {
    pub name: String,
    pub seed: u64,
    /// What each key was at first.
    pub first: BTreeMap<String, State>,
    pub events: Vec<Event>,
    /// When faults began and ended, and last when the clients left.
    pub marks: Vec<(Duration, &'static str)>,
    began: Instant,
}

impl History {
    pub fn begin(name: &str, seed: u64) -> Self {
        let (name, began) = (name.to_owned(), Instant::now());
        Self { name, seed, first: BTreeMap::new(), events: Vec::new(), marks: Vec::new(), began }
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Says how much happened, and the longest time in which no write was acknowledged while all clients worked.
    pub fn tell(&self) {
        let end = self.marks.last().map_or(Duration::MAX, |(at, _)| *at);
        let kept = self.events.iter().filter(|event| event.is_kept_write() && event.answered <= end);
        let mut answered: Vec<Duration> = kept.map(|event| event.answered).collect();
        answered.sort();
        let silence = answered.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
        let lost = self.events.iter().filter(|event| event.said == Said::Unknown).count();
        println!(
            "{}: {} operations on {} keys, {} writes acknowledged, {lost} without an answer, at most {} ms \
             between two acknowledgements",
            self.name,
            self.events.len(),
            self.first.len(),
            answered.len(),
            silence.as_millis()
        );
    }

    /// Writes it where whoever looks into it finds it; the one of the run before is gone.
    pub fn keep(&self) -> PathBuf {
        let ms = |at: Duration| at.as_secs_f64() * 1_000.0;
        let mut text = format!("# {}, seed {}\n", self.name, self.seed);
        for (at, mark) in &self.marks {
            writeln!(text, "# {:.3} ms: {mark}", ms(*at)).unwrap();
        }
        text += "# called, answered (ms), client, key, act, said\n";
        for event in &self.events {
            let Event { client, key, act, said, .. } = event;
            let (called, answered) = (ms(event.called), ms(event.answered));
            writeln!(text, "{called:10.3} {answered:10.3} {client:3} {key} {act:?} {said:?}").unwrap();
        }
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.txt", self.name));
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Event {
    /// A write that was acknowledged.
    pub fn is_kept_write(&self) -> bool {
        let wrote = matches!(self.act, Act::Add(_) | Act::Rename { .. } | Act::Claim);
        wrote && matches!(self.said, Said::Total(_) | Said::Done)
    }
}
