//! Whether a history is linearizable: the search of Wing and Gong, with Lowe's memory of what was tried.
//!
//! Our own, because the crates that do this either forget what they tried or bring a benchmark suite with
//! them, and none knows operations without an answer. Those may take effect at any time after their call, or
//! never: they are tried only where they change something, and of two that ask the same the earlier is tried
//! first, so that many of them stay affordable.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Event, Said, State};

/// More than any history here needs; a search that gets there has found nothing, and says so.
const STEPS_MAX: usize = 1_000_000;

/// Judges each key by itself, from its first state; what is wrong, if something is.
pub fn check(first: &BTreeMap<String, State>, events: &[Event]) -> Result<(), String> {
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        keys.entry(&event.key).or_default().push(event);
    }
    for (key, events) in keys {
        Search::new(first[key].clone(), events).run().map_err(|why| format!("{key}: {why}"))?;
    }
    Ok(())
}

/// A call or an answer, in a list from which operations are lifted and put back.
#[derive(Clone, Copy)]
struct Entry {
    operation: usize,
    is_call: bool,
    before: usize,
    after: usize,
}

struct Search<'a> {
    events: Vec<&'a Event>,
    /// Entry 0 is the head and the end of the list.
    entries: Vec<Entry>,
    /// The call and the answer, if there is one, of each operation.
    places: Vec<(usize, Option<usize>)>,
    /// The operation before this one that asks the same, both without an answer.
    twin: Vec<Option<usize>>,
    state: State,
    done: Vec<u64>,
    left: usize,
    tried: BTreeSet<(Vec<u64>, State)>,
}

impl<'a> Search<'a> {
    fn new(state: State, mut events: Vec<&'a Event>) -> Self {
        events.sort_by_key(|event| event.called);
        let answered = |event: &Event| event.said != Said::Unknown;
        let mut times: Vec<(_, bool, usize)> = Vec::new();
        for (operation, event) in events.iter().enumerate() {
            times.push((event.called, true, operation));
            if answered(event) {
                times.push((event.answered, false, operation));
            }
        }
        // At the same instant answers come last: then the two overlap.
        times.sort_by_key(|(at, is_call, operation)| (*at, !is_call, *operation));
        let mut entries =
            vec![Entry { operation: usize::MAX, is_call: false, before: times.len(), after: 1 }];
        let mut places = vec![(0, None); events.len()];
        for (place, (_, is_call, operation)) in times.iter().enumerate() {
            let (at, end) = (place + 1, times.len() + 1);
            entries.push(Entry {
                operation: *operation,
                is_call: *is_call,
                before: place,
                after: (at + 1) % end,
            });
            if *is_call { places[*operation].0 = at } else { places[*operation].1 = Some(at) }
        }
        entries[0].after %= entries.len();
        let same = |a: &Event, b: &Event| !answered(a) && !answered(b) && a.act == b.act;
        let twin = (0..events.len()).map(|at| (0..at).rev().find(|other| same(events[at], events[*other])));
        let (twin, left) = (twin.collect(), events.iter().filter(|event| answered(event)).count());
        let done = vec![0; events.len().div_ceil(64)];
        Self { events, entries, places, twin, state, done, left, tried: BTreeSet::new() }
    }

    fn run(mut self) -> Result<(), String> {
        let mut order: Vec<(usize, State)> = Vec::new();
        let mut furthest = (0, String::new());
        let mut at = self.entries[0].after;
        for _ in 0..STEPS_MAX {
            if self.left == 0 {
                return Ok(());
            }
            let entry = self.entries[at];
            if entry.is_call {
                at = match self.advance(entry.operation) {
                    Some(before) => {
                        order.push((entry.operation, before));
                        self.entries[0].after
                    }
                    None => entry.after,
                };
                continue;
            }
            // An operation has ended that nothing could be placed before: the last choice was wrong.
            if order.len() >= furthest.0 {
                furthest = (
                    order.len(),
                    format!("{:?} cannot follow {:?}", self.events[entry.operation], self.state),
                );
            }
            let Some((operation, before)) = order.pop() else {
                return Err(format!("no order explains it; after {} operations {}", furthest.0, furthest.1));
            };
            self.put_back(operation, before);
            at = self.entries[self.places[operation].0].after;
        }
        Err(format!("undecided after {STEPS_MAX} steps; after {} operations {}", furthest.0, furthest.1))
    }

    /// Places an operation next, if it may come next and that was not tried; answers the state before.
    fn advance(&mut self, operation: usize) -> Option<State> {
        let event = self.events[operation];
        if self.twin[operation].is_some_and(|twin| !self.is_done(twin)) {
            return None;
        }
        let after = self.state.step(&event.act, &event.said)?;
        if event.said == Said::Unknown && after == self.state {
            return None;
        }
        self.done[operation / 64] ^= 1 << (operation % 64);
        if !self.tried.insert((self.done.clone(), after.clone())) {
            self.done[operation / 64] ^= 1 << (operation % 64);
            return None;
        }
        let (call, answer) = self.places[operation];
        self.lift(call);
        if let Some(answer) = answer {
            self.lift(answer);
            self.left -= 1;
        }
        Some(std::mem::replace(&mut self.state, after))
    }

    fn put_back(&mut self, operation: usize, before: State) {
        self.state = before;
        self.done[operation / 64] ^= 1 << (operation % 64);
        let (call, answer) = self.places[operation];
        if let Some(answer) = answer {
            self.return_to_list(answer);
            self.left += 1;
        }
        self.return_to_list(call);
    }

    fn is_done(&self, operation: usize) -> bool {
        self.done[operation / 64] >> (operation % 64) & 1 == 1
    }

    fn lift(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        self.entries[before].after = after;
        self.entries[after].before = before;
    }

    fn return_to_list(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        self.entries[before].after = at;
        self.entries[after].before = at;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::history::Act::{self, *},
        *,
    };

    fn event((called, answered): (u64, u64), act: Act, said: Said) -> Event {
        let at = Duration::from_millis;
        Event { client: 0, key: "k".into(), act, said, called: at(called), answered: at(answered) }
    }

    fn judge(first: State, events: &[Event]) -> Result<(), String> {
        check(&BTreeMap::from([("k".to_owned(), first)]), events)
    }

    fn counter(limit: i64) -> State {
        State::Counter { value: 0, limit }
    }

    #[test]
    fn operations_that_overlap_may_come_in_either_order_and_others_not() {
        let add = |when, total| event(when, Add(1), Said::Total(total));
        assert!(judge(counter(-1), &[add((0, 10), 2), add((5, 15), 1)]).is_ok());
        assert!(judge(counter(-1), &[add((0, 4), 2), add((5, 15), 1)]).is_err());
        assert!(judge(counter(-1), &[add((0, 10), 1), add((5, 15), 1)]).is_err(), "one was lost");
        assert!(judge(counter(1), &[add((0, 10), 1), event((11, 12), Add(1), Said::Refused)]).is_ok());
        assert!(judge(counter(2), &[add((0, 10), 1), event((11, 12), Add(1), Said::Refused)]).is_err());
    }

    #[test]
    fn what_was_not_answered_happens_late_or_never_but_not_before_its_call() {
        let lost = event((10, 11), Add(1), Said::Unknown);
        let read = |when, total| event(when, Count, Said::Total(total));
        let then = |reads: &[Event]| judge(counter(-1), &[std::slice::from_ref(&lost), reads].concat());
        assert!(then(&[read((20, 21), 0)]).is_ok());
        assert!(then(&[read((20, 21), 0), read((30, 31), 1)]).is_ok());
        assert!(then(&[read((20, 21), 1), read((30, 31), 0)]).is_err());
        assert!(then(&[read((5, 6), 1)]).is_err());
        assert!(then(&[read((20, 21), 2)]).is_err());
    }

    #[test]
    fn a_stale_read_a_lost_update_and_a_second_winner_are_found() {
        let row = |version, name: &str| Said::Row { version, name: name.to_owned() };
        let rename = |when, seen, name: &str| event(when, Rename { seen, name: name.to_owned() }, Said::Done);
        let first = State::Row { version: 1, name: "a".to_owned() };
        let renamed = [rename((0, 5), 1, "b"), event((6, 7), Row, row(2, "b"))];
        assert!(judge(first.clone(), &renamed).is_ok());
        assert!(judge(first.clone(), &[rename((0, 5), 1, "b"), event((6, 7), Row, row(1, "a"))]).is_err());
        assert!(judge(first, &[rename((0, 5), 1, "b"), rename((1, 7), 1, "c")]).is_err());
        let claims = [event((0, 5), Claim, Said::Done), event((1, 6), Claim, Said::Done)];
        assert!(judge(State::Slug { taken: false }, &claims).is_err());
        assert!(
            judge(State::Slug { taken: false }, &[claims[0].clone(), event((1, 6), Claim, Said::Refused)])
                .is_ok()
        );
    }

    #[test]
    fn forty_operations_without_an_answer_are_decided_all_the_same() {
        let mut events: Vec<Event> = (0..40).map(|at| event((at, at), Add(1), Said::Unknown)).collect();
        events.push(event((100, 101), Add(1), Said::Total(21)));
        assert!(judge(counter(-1), &events).is_ok());
        events.push(event((110, 111), Count, Said::Total(99)));
        let why = judge(counter(-1), &events).unwrap_err();
        assert!(why.contains("no order explains it"), "{why}");
    }
}
