//! One node of the group: the handle the application holds.
//!
//! Start reading at [`Replica::start`], then [`Replica::propose`] and [`Replica::read_barrier`].

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use openraft::{
    Raft, ReadPolicy, errors::ClientWriteError, impls::ProgressResponder,
    raft::linearizable_read::LinearizerOption,
};
use tokio::{
    net::TcpListener,
    task::unconstrained,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    archive::own,
    contract::{Application, Committed, Config, Fault, GroupId, Machine, NodeId, Unavailable},
    figures::Figures,
    freshness::Freshness,
    house::{engine_config, keep_house, watch_engine},
    lag::Ends,
    log::LogStore,
    machine::{Host, StateMachine},
    membership::{self, Admitted, ChangeError, JoinError, Token},
    pki::Authority,
    snapshot::{Receiver, Shipper},
    status::{self, Status},
    trust::Trust,
    types::{Stamped, TypeConfig, Vote},
    voters::Steady,
    watch,
    wire::{
        Attempt, CallError, Change, Changed, Propose,
        client::{Lane, Link, Peers},
        frame::PAYLOAD_MAX,
        kind,
        network::Network,
        server,
    },
};

pub(crate) type Engine = Raft<TypeConfig, StateMachine>;
pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;

/// Between two attempts while nobody leads, unless the leadership changes sooner.
const PAUSE: Duration = Duration::from_millis(25);
const FOUNDING: Duration = Duration::from_secs(10);
const HAND_OVER: Duration = Duration::from_millis(1_500);

/// Who leads, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This node.
    Leader {
        /// Never falls, and this node leads at most once in each: it tells one time of leading from the next here.
        /// It fences nothing: another node may have led in the same term (the later one has the higher number), and
        /// this one may lead no more when it acts.
        term: u64,
    },
    /// Another node.
    Follower {
        /// That node.
        leader: NodeId,
    },
    /// Nobody, or nobody known.
    NoLeader,
}

/// One node of the group. A handle: clones are the same replica.
#[derive(Clone)]
pub struct Replica {
    pub(crate) core: Arc<Core>,
}

/// What the handle, the server and the background tasks share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) raft: Engine,
    pub(crate) host: Arc<Host>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) receiver: Receiver,
    pub(crate) application: Arc<dyn Application>,
    pub(crate) log: LogStore,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) freshness: Freshness,
    pub(crate) steady: Steady,
    pub(crate) ends: Ends,
    /// Held while the membership is changed.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// Held from taking a stamp to queueing the entry, so stamps rise in log order.
    order: Mutex<()>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Entries from this index on stay in the log ([`Replica::hold`]).
    pub(crate) held: AtomicU64,
}

impl Replica {
    /// True when the folder holds the identity of a member: [`Replica::start`] needs no token.
    pub fn exists(folder: &Path) -> bool {
        Trust::exists(folder)
    }

    /// Makes a cluster: its authority, and a membership of this node alone. Then as [`Replica::start`].
    pub async fn bootstrap(
        config: Config,
        machine: Arc<dyn Machine>,
        application: Arc<dyn Application>,
    ) -> Result<Self, Fault> {
        if Trust::exists(&config.folder) {
            return Err(Fault::found("this folder belongs to a cluster already"));
        }
        Trust::of(Authority::create()?).save(&config.folder, application.safe())?;
        let folder = config.folder.clone();
        let started = Self::start(config, machine, application).await;
        let replica = started.inspect_err(|_| membership::forget(&folder))?;
        let config = &replica.core.config;
        let members = std::collections::BTreeMap::from([(config.node, own(config))]);
        let made = replica.core.raft.initialize(members).await;
        made.map_err(|e| Fault::new("make a cluster of one", e))?;
        let mut leadership = replica.core.leadership.subscribe();
        let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
        if timeout(FOUNDING, leads).await.is_err() {
            return Err(Fault::found("a cluster of one found no leader"));
        }
        Ok(replica)
    }

    /// Joins a cluster: asks a member to be let in. Call [`Admitted::enter`] next, then [`Replica::start`].
    /// `about` is for the application of the member that is asked.
    pub async fn join(config: &Config, token: &Token, about: Vec<u8>) -> Result<Admitted, JoinError> {
        membership::join(config, token, about).await
    }

    /// Starts a member: listens to peers, applies what is committed and not yet in the files, takes part.
    pub async fn start(
        config: Config,
        machine: Arc<dyn Machine>,
        application: Arc<dyn Application>,
    ) -> Result<Self, Fault> {
        if config.proposal_bytes_max > PAYLOAD_MAX / 2 {
            return Err(Fault::found("proposals would be larger than a frame between peers"));
        }
        let group = GroupId::MAIN;
        let (trust, sealed) = Trust::load(&config.folder, application.safe())?;
        let peers = Peers::new(config.node, group, trust, sealed)?;
        let listener = TcpListener::bind(config.peer_listen)
            .await
            .map_err(|e| Fault::new(format!("listen for peers on {}", config.peer_listen), e))?;
        let host = Host::open(machine, group, &config.folder)?;
        let log = LogStore::open(&config.folder.join("log"), group, config.segment_bytes)?;
        let replica = Self::assemble(config, peers, host, log, application).await?;
        let core = &replica.core;
        tokio::spawn(server::serve(Arc::clone(core), listener, core.stopping.subscribe()));
        Ok(replica)
    }

    /// Starts the engine and what recurs, over whatever carries messages and holds the log.
    pub(crate) async fn assemble(
        config: Config,
        peers: Arc<Peers>,
        host: Arc<Host>,
        log: LogStore,
        application: Arc<dyn Application>,
    ) -> Result<Self, Fault> {
        let held = AtomicU64::new(if config.held_at_start { 0 } else { u64::MAX });
        let receiver = Receiver::new(Arc::clone(&host), &config.folder)?;
        let shipper = Shipper::new(Arc::clone(&host), &config.folder)?;
        let (purged, last) = log.ends();
        host.require_fit(purged, last)?;
        *host.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log.clone());
        let network = Network { peers: Arc::clone(&peers), shipper };
        let engine = Arc::new(engine_config(&config)?);
        let state = StateMachine::start(Arc::clone(&host))?;
        let raft = Raft::new(config.node, engine, network, log.clone(), state)
            .await
            .map_err(|e| Fault::new("start the consensus engine", e))?;
        let core = Arc::new(Core {
            config,
            raft,
            host,
            peers,
            receiver,
            application,
            log,
            leadership: watch::Sender::new(Leadership::NoLeader),
            freshness: Freshness::new(),
            steady: Steady::default(),
            ends: Ends::default(),
            changes: tokio::sync::Mutex::new(()),
            order: Mutex::new(()),
            stopping: watch::Sender::new(false),
            held,
        });
        tokio::spawn(watch_engine(Arc::clone(&core)));
        tokio::spawn(keep_house(Arc::clone(&core)));
        Ok(Self { core })
    }

    /// Proposes an entry, on any node, and waits until it is applied where it was accepted. Readers see it a
    /// moment later: [`Replica::wait_applied`].
    ///
    /// It is written at least once, if at all: after a change of leader it may be proposed again, so the
    /// machine recognizes repeated bodies by an id of its own.
    pub async fn propose(&self, body: Bytes, within: Duration) -> Result<Committed, Unavailable> {
        let outcome = self.put_forward(body, within).await;
        self.core.host.counters.proposed(&outcome);
        outcome
    }

    async fn put_forward(&self, body: Bytes, within: Duration) -> Result<Committed, Unavailable> {
        let core = &self.core;
        if body.len() > core.config.proposal_bytes_max {
            return Err(Unavailable::TooLarge);
        }
        let until = Instant::now() + within;
        let mut leadership = core.leadership.subscribe();
        let mut left = false;
        loop {
            core.running()?;
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(if left { Unavailable::OutcomeUnknown } else { Unavailable::NoQuorum });
            }
            let leader = *leadership.borrow_and_update();
            match core.attempt_at(leader, body.clone(), remaining).await? {
                Attempt::Done { index, reply } => return Ok(Committed { index, reply }),
                Attempt::Unknown => left = true,
                Attempt::NotWritten => {}
            }
            let _ = timeout_at(until.min(Instant::now() + PAUSE), leadership.changed()).await;
        }
    }

    /// Waits until everything acknowledged anywhere before the call is applied here; answers that index.
    ///
    /// The leader confirms by a round of heartbeats that it still leads, so no clock is trusted; many
    /// readers share one round.
    pub async fn read_barrier(&self, within: Duration) -> Result<u64, Unavailable> {
        let core = &self.core;
        let until = Instant::now() + within;
        let mut leadership = core.leadership.subscribe();
        loop {
            core.running()?;
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(Unavailable::NoQuorum);
            }
            let leader = *leadership.borrow_and_update();
            if let Some(index) = core.read_index_at(leader, remaining).await {
                self.wait_applied(index, until.saturating_duration_since(Instant::now())).await?;
                return Ok(index);
            }
            let _ = timeout_at(until.min(Instant::now() + PAUSE), leadership.changed()).await;
        }
    }

    /// Waits until readers here see the entry at `index`.
    pub async fn wait_applied(&self, index: u64, within: Duration) -> Result<(), Unavailable> {
        let reached = timeout(within, self.core.host.seen(index)).await.is_ok();
        self.core.running()?;
        if reached { Ok(()) } else { Err(Unavailable::NoQuorum) }
    }

    /// Index of the last entry that readers here see.
    pub fn applied_index(&self) -> u64 {
        *self.core.host.applied.borrow()
    }

    /// The most that what readers see here can be behind what is acknowledged anywhere.
    pub fn staleness(&self) -> Duration {
        // Nobody else can have led, and so acknowledged anything, before a quorum last answered this leader.
        let core = &self.core;
        self.unanswered().unwrap_or_else(|| core.freshness.age(Instant::now(), self.applied_index()))
    }

    /// How long this node has not heard of a leader; of a leader, how long no quorum has answered it.
    pub fn silence(&self) -> Duration {
        self.unanswered().unwrap_or_else(|| self.core.freshness.silence(Instant::now()))
    }

    /// Since a quorum answered this node, if it leads.
    fn unanswered(&self) -> Option<Duration> {
        if !self.core.leads() {
            return None;
        }
        let metrics = self.core.metrics();
        if metrics.membership_config.voter_ids().count() == 1 {
            return Some(Duration::ZERO);
        }
        let acked = metrics.last_quorum_acked;
        Some(acked.map_or(Duration::MAX, |at| openraft::async_runtime::Instant::elapsed(&*at)))
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.core.leadership.subscribe()
    }

    /// What this replica has done since it started.
    pub fn figures(&self) -> Figures {
        self.core.host.counters.read()
    }

    /// This replica and what it knows of the group.
    pub fn status(&self) -> Status {
        status::of(&self.core)
    }

    /// Resolves when this replica met a fault: the text. Never after a plain [`Replica::stop`].
    pub async fn halted(&self) -> String {
        let mut halted = self.core.host.halted.subscribe();
        match halted.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Makes a checkpoint now, of everything that was answered here before the call; answers the index up to which the
    /// files are durable.
    pub async fn checkpoint(&self, within: Duration) -> Result<u64, Unavailable> {
        let core = &self.core;
        core.host.settle().await.map_err(|_| Unavailable::Halted)?;
        let index = self.applied_index();
        let mut durable = core.host.durable.subscribe();
        if *durable.borrow() < index {
            core.raft.trigger().snapshot().await.map_err(|_| Unavailable::Halted)?;
        }
        let reached = timeout(within, durable.wait_for(|durable| *durable >= index)).await;
        match reached {
            Ok(Ok(index)) => Ok(*index),
            _ => Err(core.running().err().unwrap_or(Unavailable::OutcomeUnknown)),
        }
    }

    /// Takes a node out of the group. On any node. Refused while fewer than a majority of those that stay
    /// answer, unless forced.
    pub async fn remove(&self, node: NodeId, force: bool, within: Duration) -> Result<(), ChangeError> {
        self.core.change(Change::Remove { node, force }, within).await
    }

    /// Whether [`Replica::remove`] would be refused now.
    pub async fn may_remove(&self, node: NodeId, force: bool, within: Duration) -> Result<(), ChangeError> {
        self.core.change(Change::MayRemove { node, force }, within).await
    }

    /// Makes a voter of a learner, one that was demoted too. On any node.
    pub async fn promote(&self, node: NodeId, within: Duration) -> Result<(), ChangeError> {
        self.core.change(Change::Promote { node }, within).await
    }

    /// Makes a learner of a voter; it stays one until it is promoted. On any node. Refused as a removal is.
    pub async fn demote(&self, node: NodeId, force: bool, within: Duration) -> Result<(), ChangeError> {
        self.core.change(Change::Demote { node, force }, within).await
    }

    /// Hands the leadership to a voter and waits until this node sees it lead. On any node.
    pub async fn transfer_leadership(&self, to: NodeId, within: Duration) -> Result<(), ChangeError> {
        let core = &self.core;
        let until = Instant::now() + within;
        core.change(Change::TransferTo { node: to }, within).await?;
        let mut leadership = core.leadership.subscribe();
        let leads = |now: &Leadership| match *now {
            Leadership::Leader { .. } => to == core.config.node,
            Leadership::Follower { leader } => leader == to,
            Leadership::NoLeader => false,
        };
        match timeout_at(until, leadership.wait_for(leads)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ChangeError::Unavailable(Unavailable::OutcomeUnknown)),
        }
    }

    /// A token that admits one node, once the application has stored its digest.
    pub fn new_token(&self) -> Result<Token, Fault> {
        let metrics = self.core.metrics();
        let nodes = metrics.membership_config.membership().nodes();
        let own = self.core.config.peer_advertise.clone(); // first: the member that is asked for a token is up
        let others = nodes.map(|(_, node)| node.peer_address.clone()).filter(|address| *address != own);
        let addresses = std::iter::once(own.clone()).chain(others).collect();
        Token::new(addresses, self.core.peers.identity().trust.issuer().fingerprint())
    }

    /// Hands the leadership over if this node leads and another one can: before it drains and stops, so that nobody
    /// waits for an election.
    pub async fn hand_over(&self) {
        let core = &self.core;
        if core.leads()
            && core.running().is_ok()
            && let Some(heir) = core.heir()
            && let Err(error) = self.transfer_leadership(heir, HAND_OVER).await
        {
            tracing::warn!(heir, %error, "the leadership was not handed over");
        }
    }

    /// Stops this replica: hands the leadership over if it leads, then takes no further part.
    pub async fn stop(&self) {
        let core = &self.core;
        self.hand_over().await;
        core.stopping.send_replace(true);
        core.host.last_checkpoint(&core.raft).await;
        if core.raft.shutdown().await.is_err() {
            tracing::warn!("the consensus engine did not end cleanly");
        }
        core.peers.close();
    }
}

impl Core {
    pub(crate) fn metrics(&self) -> Metrics {
        use openraft::async_runtime::watch::WatchReceiver;
        self.raft.metrics().borrow_watched().clone()
    }

    pub(crate) fn vote(&self) -> Vote {
        self.metrics().vote
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(*self.leadership.borrow(), Leadership::Leader { .. })
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.metrics().membership_config.get_node(&node).is_some()
    }

    fn running(&self) -> Result<(), Unavailable> {
        if *self.stopping.borrow() || self.host.halted.borrow().is_some() {
            return Err(Unavailable::Halted);
        }
        Ok(())
    }

    fn link(&self, node: NodeId) -> Option<Link> {
        let metrics = self.metrics();
        let known = metrics.membership_config.get_node(&node)?;
        Some(self.peers.link(node, &known.peer_address, Lane::Raft))
    }

    async fn attempt_at(
        &self,
        leader: Leadership,
        body: Bytes,
        within: Duration,
    ) -> Result<Attempt, Unavailable> {
        match leader {
            Leadership::NoLeader => Ok(Attempt::NotWritten),
            Leadership::Leader { .. } => self.attempt(body, within).await.map_err(|_| Unavailable::Halted),
            Leadership::Follower { leader } => {
                let Some(link) = self.link(leader) else { return Ok(Attempt::NotWritten) };
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let asked = Propose { within_ms, body };
                Ok(match self.while_leads(leader, link.call(kind::PROPOSE, &asked, within)).await {
                    Some(Ok(attempt)) => attempt,
                    Some(Err(CallError::Unsent(_))) => Attempt::NotWritten,
                    Some(Err(CallError::Lost(_) | CallError::Refused(_))) | None => Attempt::Unknown,
                })
            }
        }
    }

    /// One attempt to write here. A fault when the engine has stopped.
    pub(crate) async fn attempt(&self, body: Bytes, within: Duration) -> Result<Attempt, Fault> {
        let stopped = || Fault::found("this replica has stopped");
        let (responder, outcome) = ProgressResponder::complete_only();
        let queued = {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            self.host.clock.seen(self.log.newest_ms());
            let entry = Stamped { at_ms: self.host.clock.stamp(), body };
            // Queueing waits only while the engine's queue is full (unconstrained: or if the task had
            // used up its turn, which must not look the same).
            unconstrained(self.raft.client_write_ff(entry, Some(responder))).now_or_never()
        };
        match queued {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(stopped()),
            // The future went with the entry in it: nothing was written.
            None => return Ok(Attempt::NotWritten),
        }
        match timeout(within, outcome).await {
            Err(_) | Ok(Ok(Err(ClientWriteError::LogEntryDiscarded(_)))) => Ok(Attempt::Unknown),
            Ok(Err(_)) => Err(stopped()),
            Ok(Ok(Ok(done))) => Ok(Attempt::Done { index: done.log_id.index, reply: done.data }),
            Ok(Ok(Err(_))) => Ok(Attempt::NotWritten),
        }
    }

    /// The index a linearizable read must wait for, if this node leads and a quorum confirms it.
    pub(crate) async fn read_index(&self, within: Duration) -> Option<u64> {
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(within);
        let linearizer = self.raft.get_read_linearizer(option).await.ok()?;
        Some(linearizer.read_log_id().index())
    }

    async fn read_index_at(&self, leader: Leadership, within: Duration) -> Option<u64> {
        match leader {
            Leadership::NoLeader => None,
            Leadership::Leader { .. } => self.read_index(within).await,
            Leadership::Follower { leader } => {
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let link = self.link(leader)?;
                self.while_leads(leader, link.call(kind::READ_INDEX, &within_ms, within)).await?.ok()?
            }
        }
    }

    /// What a leader answers; nothing once it is known to lead no more: a leader cut off or frozen is silent.
    async fn while_leads<T>(&self, leader: NodeId, answer: impl Future<Output = T>) -> Option<T> {
        let mut leadership = self.leadership.subscribe();
        tokio::select! {
            answer = answer => Some(answer),
            _ = leadership.wait_for(|now| *now != Leadership::Follower { leader }) => None,
        }
    }

    /// Has the leader, wherever it is, perform a change.
    pub(crate) async fn change(&self, change: Change, within: Duration) -> Result<(), ChangeError> {
        let until = Instant::now() + within;
        let mut leadership = self.leadership.subscribe();
        loop {
            self.running().map_err(ChangeError::Unavailable)?;
            let leader = *leadership.borrow_and_update();
            let attempt = async {
                match leader {
                    Leadership::NoLeader => Ok(Changed::NotNow),
                    Leadership::Leader { .. } => Ok(membership::perform(self, change.clone()).await),
                    Leadership::Follower { leader } => match self.link(leader) {
                        Some(link) => link.call(kind::CHANGE, &change, within).await,
                        None => Ok(Changed::NotNow),
                    },
                }
            };
            match timeout_at(until, attempt).await {
                Ok(Ok(Changed::Done)) => return Ok(()),
                Ok(Ok(Changed::Refused(why))) => return Err(ChangeError::Refused(why)),
                Ok(Ok(Changed::NotNow) | Err(_)) => {}
                Err(_) => return Err(ChangeError::Unavailable(Unavailable::OutcomeUnknown)),
            }
            if Instant::now() >= until {
                return Err(ChangeError::Unavailable(Unavailable::NoQuorum));
            }
            let _ = timeout_at(until.min(Instant::now() + PAUSE), leadership.changed()).await;
        }
    }
}
