//! Counting API calls at the edge: from permits that the organization's file leases out.
//!
//! The limits per minute and day hold over all nodes, because a node answers a call only with a permit
//! and permits come out of one counter in apply. Unlimited plans need none; their calls are counted
//! about once a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::commands::{CallLease, CountCalls, LeaseCalls};
use crate::{
    cluster::{Cluster, Ticket},
    kernel::{Millis, OrgId, RequestId},
    web::{Admitted, Problem},
};

/// One node's permits and counts. Cheap to clone.
#[derive(Clone)]
pub struct CallMeter {
    cluster: Cluster,
    state: Arc<Mutex<BTreeMap<OrgId, Metered>>>,
}

#[derive(Clone, Debug)]
struct Metered {
    lease: CallLease,
    /// Permits of the lease that are left.
    left: i64,
    /// Calls answered without a permit and not yet counted.
    uncounted: i64,
}

/// Permits asked for at a time: a share of the minute, so that nodes do not starve each other.
const LEASE_SHARE: i64 = 10;
/// An unlimited plan is believed for this long before it is asked for again.
const UNLIMITED_MS: i64 = 10_000;

impl CallMeter {
    /// A meter for this node.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, state: Arc::default() }
    }

    /// Counts one call of `organization`, or answers 429.
    pub async fn admit(&self, organization: OrgId, now: Millis) -> Result<Admitted, Problem> {
        if let Some(admitted) = self.spend(organization, now) {
            return admitted;
        }
        let wanted = self.wanted(organization);
        let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
        let answer = self.cluster.propose(&ticket, organization, &LeaseCalls { wanted }).await?;
        let mut state = self.lock();
        let entry = state.entry(organization).or_insert_with(|| Metered::new(answer.reply));
        let kept = if entry.lease.at.minute() == answer.reply.at.minute() { entry.left } else { 0 };
        entry.left = kept.saturating_add(answer.reply.granted);
        entry.lease = answer.reply;
        drop(state);
        self.spend(organization, now).unwrap_or_else(|| Err(too_many(&answer.reply, now)))
    }

    /// Calls that are not counted yet, by organization; they count as handed over.
    pub fn take_uncounted(&self) -> Vec<(OrgId, i64)> {
        let mut state = self.lock();
        let waiting = state.iter_mut().filter(|(_, metered)| metered.uncounted > 0);
        waiting
            .map(|(organization, metered)| (*organization, std::mem::take(&mut metered.uncounted)))
            .collect()
    }

    /// Counts calls that needed no permit.
    pub async fn flush(&self) {
        for (organization, calls) in self.take_uncounted() {
            let ticket = Ticket::system(RequestId(uuid::Uuid::now_v7()));
            if self.cluster.propose(&ticket, organization, &CountCalls { calls }).await.is_err() {
                // No quorum: they are counted when there is one.
                if let Some(metered) = self.lock().get_mut(&organization) {
                    metered.uncounted += calls;
                }
            }
        }
    }

    fn spend(&self, organization: OrgId, now: Millis) -> Option<Result<Admitted, Problem>> {
        let mut state = self.lock();
        let metered = state.get_mut(&organization)?;
        let lease = metered.lease;
        if lease.unlimited {
            let believed = lease.at.plus(UNLIMITED_MS) > now;
            metered.uncounted += i64::from(believed);
            return believed.then(|| Ok(Admitted::default()));
        }
        if lease.at.minute() != now.minute() {
            return None;
        }
        if metered.left > 0 {
            metered.left -= 1;
            return Some(Ok(admitted(&lease, metered.left, now)));
        }
        // Nothing is left of the minute or the day on any node: no need to ask again before the next.
        (lease.granted == 0).then(|| Err(too_many(&lease, now)))
    }

    fn wanted(&self, organization: OrgId) -> i64 {
        let per_minute = self.lock().get(&organization).map_or(0, |metered| metered.lease.per_minute);
        (per_minute / LEASE_SHARE).clamp(1, 100)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<OrgId, Metered>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metered {
    fn new(lease: CallLease) -> Self {
        Self { lease, left: 0, uncounted: 0 }
    }
}

fn admitted(lease: &CallLease, left_here: i64, now: Millis) -> Admitted {
    let left = lease.minute_left.min(lease.day_left).saturating_add(left_here);
    let reset = seconds_to_next_minute(now);
    Admitted {
        headers: vec![
            ("ratelimit-policy", format!("\"minute\";q={};w=60", lease.per_minute)),
            ("ratelimit", format!("\"minute\";r={left};t={reset}")),
        ],
    }
}

fn too_many(lease: &CallLease, now: Millis) -> Problem {
    let day = lease.day_left <= 0;
    let (name, seconds) = if day {
        ("maxAPICallsPerDay", seconds_to_next_day(now))
    } else {
        ("maxAPICallsPerMinute", seconds_to_next_minute(now))
    };
    let detail = format!("Quota exceeded for {name}; try again in {seconds} seconds");
    Problem::new(429, "rate_limited", "Too many API calls", detail)
        .with("resource", name)
        .retry_after(seconds)
}

fn seconds_to_next_minute(now: Millis) -> u64 {
    seconds(60_000 - now.0.rem_euclid(60_000))
}

fn seconds_to_next_day(now: Millis) -> u64 {
    seconds(crate::kernel::DAY_MS - now.0.rem_euclid(crate::kernel::DAY_MS))
}

fn seconds(ms: i64) -> u64 {
    u64::try_from(ms.div_euclid(1000) + 1).unwrap_or(1)
}
