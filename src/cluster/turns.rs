//! Turns to propose: fair between organizations when there are more proposals than the log should hold.
//!
//! What waits in the log waits before every later entry, so a flood must wait here instead, where others can pass it.
//! Few are under way at a time, of one organization and of all; whoever comes when these are spent waits in the line
//! of its organization, and the lines take turns.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::kernel::OrgId;

/// Proposals of one organization that may be under way at a time while others propose too. More fill batches better
/// and make those others wait longer: of 32 a quiet one's p99 was twice as long as of 8 (measured). One that is alone
/// has all turns, since large batches cost least.
const OF_ONE: usize = 8;
/// Proposals of all organizations that may be under way at a time.
const OF_ALL: usize = 256;
/// An organization is alone when none of so many proposals before was another's.
const RECENT: usize = 512;

/// Who may propose now.
#[derive(Clone)]
pub(super) struct Turns {
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    of_one: usize,
    of_all: usize,
    under_way: usize,
    by_organization: BTreeMap<OrgId, Line>,
    /// Organizations whose first in line could go as far as its own limit goes, in the order of their turns.
    next: VecDeque<OrgId>,
    /// Whose the last proposals were, and how many of each.
    recent: VecDeque<OrgId>,
    counts: BTreeMap<OrgId, usize>,
}

#[derive(Default)]
struct Line {
    under_way: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// It is in `next`.
    listed: bool,
}

/// Leave to propose; the next one goes when it is dropped.
pub(super) struct Turn {
    turns: Turns,
    organization: OrgId,
}

impl Default for Turns {
    fn default() -> Self {
        Self::of(OF_ONE, OF_ALL)
    }
}

impl Turns {
    fn of(of_one: usize, of_all: usize) -> Self {
        let lines = Lines {
            of_one,
            of_all,
            under_way: 0,
            by_organization: BTreeMap::new(),
            next: VecDeque::new(),
            recent: VecDeque::new(),
            counts: BTreeMap::new(),
        };
        Self { lines: Arc::new(Mutex::new(lines)) }
    }

    /// Waits for a turn. Whoever stops waiting leaves the line.
    pub(super) async fn take(&self, organization: OrgId) -> Turn {
        let waits = self.stand_in_line(organization);
        match waits.await {
            Ok(turn) => turn,
            // The line went with the node: there is nobody left to wait for.
            Err(_) => Turn { turns: self.clone(), organization },
        }
    }

    fn stand_in_line(&self, organization: OrgId) -> oneshot::Receiver<Turn> {
        let (place, turn) = oneshot::channel();
        {
            let mut lines = self.lock();
            lines.note(organization);
            lines.by_organization.entry(organization).or_default().waiting.push_back(place);
            lines.list(organization);
        }
        self.call();
        turn
    }

    /// Gives turns to as many as may go. A turn that nobody takes any more comes back at once.
    fn call(&self) {
        loop {
            let called = self.lock().call();
            let Some((organization, place)) = called else { return };
            // Not under the lock: a turn that comes back takes it.
            drop(place.send(Turn { turns: self.clone(), organization }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// The next one that may go.
    fn call(&mut self) -> Option<(OrgId, oneshot::Sender<Turn>)> {
        if self.under_way >= self.of_all {
            return None;
        }
        let organization = self.next.pop_front()?;
        let line = self.by_organization.get_mut(&organization)?;
        line.listed = false;
        let place = line.waiting.pop_front()?;
        line.under_way += 1;
        self.under_way += 1;
        self.list(organization);
        Some((organization, place))
    }

    /// Puts an organization at the end of those that may go next, if it may.
    fn list(&mut self, organization: OrgId) {
        let limit = if self.counts.len() > 1 { self.of_one } else { self.of_all };
        let Some(line) = self.by_organization.get_mut(&organization) else { return };
        if !line.listed && !line.waiting.is_empty() && line.under_way < limit {
            line.listed = true;
            self.next.push_back(organization);
        }
    }

    /// Remembers who came.
    fn note(&mut self, organization: OrgId) {
        self.recent.push_back(organization);
        *self.counts.entry(organization).or_default() += 1;
        let old = if self.recent.len() > RECENT { self.recent.pop_front() } else { None };
        if let Some(old) = old
            && let Some(count) = self.counts.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&old);
            }
        }
    }

    fn end(&mut self, organization: OrgId) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(line) = self.by_organization.get_mut(&organization) else { return };
        line.under_way = line.under_way.saturating_sub(1);
        if line.under_way == 0 && line.waiting.is_empty() {
            self.by_organization.remove(&organization);
        } else {
            self.list(organization);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().end(self.organization);
        self.turns.call();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FLOOD: OrgId = OrgId(uuid::Uuid::from_u128(1));
    const OTHER: OrgId = OrgId(uuid::Uuid::from_u128(2));
    const QUIET: OrgId = OrgId(uuid::Uuid::from_u128(3));

    /// Some who wait, and who got a turn in which order.
    struct Watch {
        turns: Turns,
        waiting: Vec<(OrgId, oneshot::Receiver<Turn>)>,
        going: VecDeque<Turn>,
        order: Vec<OrgId>,
    }

    impl Watch {
        fn new(of_one: usize, of_all: usize) -> Self {
            let turns = Turns::of(of_one, of_all);
            Self { turns, waiting: Vec::new(), going: VecDeque::new(), order: Vec::new() }
        }

        fn come(&mut self, organization: OrgId, count: usize) {
            for _ in 0..count {
                self.waiting.push((organization, self.turns.stand_in_line(organization)));
            }
            self.look();
        }

        fn look(&mut self) {
            let (going, order) = (&mut self.going, &mut self.order);
            self.waiting.retain_mut(|(organization, turn)| match turn.try_recv() {
                Ok(turn) => {
                    going.push_back(turn);
                    order.push(*organization);
                    false
                }
                Err(_) => true,
            });
        }

        /// The one that has been under way longest ends; those who go after it.
        fn end_one(&mut self) -> Vec<OrgId> {
            self.order.clear();
            drop(self.going.pop_front().unwrap());
            self.look();
            self.order.clone()
        }
    }

    #[test]
    fn a_flood_keeps_to_its_own_limit_and_others_pass_it() {
        let mut watch = Watch::new(2, 8);
        watch.come(QUIET, 1);
        assert!(watch.end_one().is_empty());
        watch.come(FLOOD, 100);
        assert_eq!(watch.order, [FLOOD, FLOOD], "somebody else was here a moment ago");
        watch.come(QUIET, 1);
        assert_eq!(watch.order, [FLOOD, FLOOD, QUIET]);
        assert_eq!(watch.end_one(), [FLOOD]);
    }

    #[test]
    fn whoever_is_alone_has_all_turns_until_another_comes() {
        let mut watch = Watch::new(2, 8);
        watch.come(FLOOD, RECENT);
        assert_eq!(watch.order.len(), 8);
        watch.come(QUIET, 1);
        assert_eq!(watch.end_one(), [QUIET]);
        // The flood shrinks to its own limit, and has all again when the other has long been gone.
        (0..5).for_each(|_| assert!(watch.end_one().is_empty()));
        assert_eq!(watch.end_one(), [FLOOD]);
        watch.come(FLOOD, RECENT);
        watch.end_one();
        assert_eq!(watch.going.len(), 8);
    }

    #[test]
    fn when_all_turns_are_spent_the_lines_take_turns() {
        let mut watch = Watch::new(4, 4);
        watch.come(FLOOD, 100);
        watch.come(OTHER, 3);
        watch.come(QUIET, 1);
        let mut order = Vec::new();
        for _ in 0..7 {
            order.extend(watch.end_one());
        }
        assert_eq!(order, [OTHER, QUIET, FLOOD, OTHER, FLOOD, OTHER, FLOOD]);
    }

    #[test]
    fn whoever_stops_waiting_costs_nobody_a_turn_and_nothing_stays_behind() {
        let mut watch = Watch::new(1, 1);
        watch.come(FLOOD, 3);
        watch.waiting.clear();
        watch.come(QUIET, 1);
        assert_eq!(watch.end_one(), [QUIET]);
        assert!(watch.end_one().is_empty());
        let lines = watch.turns.lock();
        assert!(lines.by_organization.is_empty() && lines.next.is_empty() && lines.under_way == 0);
    }
}
