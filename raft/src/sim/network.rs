//! The network: carries the requests of one node to another, late, twice, or not at all.
//!
//! What a node sends and what it answers are the real messages of `wire/`, and `wire/server.rs` answers them; only
//! the connections are missing. A request that is lost is given up after a while, as on a connection that hangs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteResponse};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep, sleep_until},
};

use super::{Chance, event::Event, world::World};
use crate::{
    contract::{GroupId, NodeId},
    types::TypeConfig,
    wire::{CallError, client::HUNG, client::Request, decode, frame::Frame, kind, server},
};

/// How messages fare now.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// From whom to whom nothing comes through.
    pub(crate) blocked: BTreeSet<(NodeId, NodeId)>,
    /// One in so many is lost; none if 0.
    pub(crate) lost_one_in: u64,
    /// One in so many comes again, much later; none if 0.
    pub(crate) odd_one_in: u64,
    /// The longest a message takes, in microseconds.
    pub(crate) delay_us: u64,
}

impl Weather {
    pub(crate) fn fair() -> Self {
        Self { blocked: BTreeSet::new(), lost_one_in: 0, odd_one_in: 0, delay_us: 2_000 }
    }
}

/// All links.
pub(crate) struct Network {
    weather: Mutex<Weather>,
    chance: Mutex<Chance>,
}

/// One that sends or receives: a node, from one start to the next power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) node: NodeId,
    pub(crate) start: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self { weather: Mutex::new(Weather::fair()), chance: Mutex::new(Chance(seed)) }
    }

    pub(crate) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    fn delay(&self) -> Duration {
        let longest = self.weather().delay_us;
        let mut chance = self.chance.lock().unwrap();
        // Most are fast: the square of an even draw.
        let part = chance.below(1_000);
        Duration::from_micros(100 + longest * part * part / 1_000_000)
    }

    fn one_in(&self, of: u64) -> bool {
        of != 0 && self.chance.lock().unwrap().one_in(of)
    }

    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        let (blocked, lost) = {
            let weather = self.weather();
            (weather.blocked.contains(&(from, to)), weather.lost_one_in)
        };
        !blocked && !self.one_in(lost)
    }
}

/// Carries everything that `from` asks of `to`.
pub(crate) async fn carry(
    world: Arc<World>,
    from: Station,
    to: NodeId,
    mut queue: UnboundedReceiver<Request>,
) {
    let mut under_way: BTreeMap<(Instant, u64), Request> = BTreeMap::new();
    let (mut number, mut newest) = (0, Instant::now());
    loop {
        let first = under_way.keys().next().map(|(at, _)| *at);
        tokio::select! {
            biased;
            request = queue.recv() => {
                let Some(request) = request else { return };
                // A connection keeps the order: the engine relies on it.
                let at = (Instant::now() + world.network.delay()).max(newest);
                newest = at;
                number += 1;
                under_way.insert((at, number), request);
            }
            () = sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                while let Some(next) = under_way.first_entry().filter(|next| next.key().0 <= Instant::now()) {
                    deliver(&world, from, to, next.remove());
                }
            }
        }
    }
}

/// A request arrives, or does not.
fn deliver(world: &Arc<World>, from: Station, to: NodeId, request: Request) {
    if !world.is_up(from) {
        return;
    }
    let Some(target) = world.station(to) else {
        // Nobody listens at that address.
        let _ = request.answer.send(Err(CallError::Unsent("connection refused".into())));
        return;
    };
    let Request { kind, payload, answer } = request;
    observe_request(world, from, kind, &payload);
    if !world.network.passes(from.node, to) {
        tokio::spawn(async move {
            sleep(HUNG).await;
            let _ = answer.send(Err(CallError::Lost("no answer".into())));
        });
        return;
    }
    let twice = matches!(kind, kind::APPEND | kind::VOTE | kind::PRE_VOTE)
        && world.network.one_in(world.network.weather().odd_one_in);
    if twice {
        let (world, payload) = (Arc::clone(world), payload.clone());
        tokio::spawn(async move {
            sleep(world.network.delay() * 20).await;
            work(&world, from, target, kind, payload).await;
        });
    }
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let answered = work(&world, from, target, kind, payload).await;
        sleep(world.network.delay()).await;
        let arrives = world.is_up(from) && world.is_up(target) && world.network.passes(to, from.node);
        match answered {
            Some(answered) if arrives => {
                let _ = answer.send(answered);
            }
            _ => {
                sleep(if world.is_up(target) { HUNG } else { Duration::from_millis(5) }).await;
                let _ = answer.send(Err(CallError::Lost("the connection ended".into())));
            }
        }
    });
}

/// The target answers; nothing if its power goes meanwhile.
async fn work(
    world: &Arc<World>,
    from: Station,
    target: Station,
    kind: u8,
    payload: Bytes,
) -> Option<Result<Bytes, CallError>> {
    let core = world.core(target)?;
    let asked = payload.clone();
    let frame = Frame { kind, group: GroupId::MAIN, request: 0, payload };
    let answer = server::answer(core, from.node, frame).await;
    if !world.is_up(target) {
        return None;
    }
    if answer.kind != kind::ANSWER {
        return Some(Err(CallError::Refused(String::from_utf8_lossy(&answer.payload).into_owned())));
    }
    observe_answer(world, target, kind, &asked, &answer.payload);
    Some(Ok(answer.payload))
}

fn observe_request(world: &World, from: Station, kind: u8, payload: &[u8]) {
    if kind != kind::APPEND {
        return;
    }
    let Ok(request) = decode::<AppendEntriesRequest<TypeConfig>>(payload) else { return };
    world.ledger.of(from.node, from.start, Event::Led { node: from.node, vote: request.vote });
    for entry in request.entries {
        let said = postcard::to_stdvec(&entry.payload).unwrap_or_default();
        let (id, sum) = (entry.log_id, crc32c::crc32c(&said));
        world.ledger.of(from.node, from.start, Event::Sent { id, sum });
    }
}

fn observe_answer(world: &World, by: Station, kind: u8, asked: &[u8], answer: &[u8]) {
    let node = by.node;
    match kind {
        kind::VOTE => {
            if let Ok(VoteResponse { vote, vote_granted, .. }) = decode::<VoteResponse<TypeConfig>>(answer) {
                world.ledger.of(node, by.start, Event::Voted { node, vote, granted: vote_granted });
            }
        }
        kind::APPEND => {
            let taken = decode::<AppendEntriesResponse<TypeConfig>>(answer).is_ok_and(|a| a.is_success());
            if let (true, Ok(request)) = (taken, decode::<AppendEntriesRequest<TypeConfig>>(asked)) {
                world.ledger.of(node, by.start, Event::Followed { node, vote: request.vote });
            }
        }
        _ => {}
    }
}
