//! The nodes: how they start, how their power goes, and what is left of them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, MutexGuard, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    Chance,
    event::Event,
    ledger::Ledger,
    machine::{Files, ModelMachine},
    network::{Network, Station, Weather, carry},
};
use crate::{
    contract::{Application, Config, Fault, Grant, GroupId, JoinRequest, Later, NodeId, Safe},
    log::{
        LogStore, Pen,
        fake::{FakeDisk, Fault as Wrong, Image},
    },
    machine::Host,
    pki::Authority,
    replica::{Core, Replica},
    trust::{Trust, Unsealed},
    types::Node as About,
    wire::client::Peers,
};

/// Small, so that a run fills, leaves and removes many.
const SEGMENT_BYTES: u64 = 8192;
/// Keys are made once: what they protect is not simulated.
static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::of(Authority::create().unwrap()));

/// A bug put there on purpose, which the invariants must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Planted {
    #[default]
    Nothing,
    /// The log acknowledges entries that are not durable.
    LyingSync,
    /// A vote is written, but not synced, and a power cut takes the record of what was durable.
    UnsyncedVote,
    /// The same, and that record may outlive the vote.
    UnsyncedVoteTold,
    /// Reads do not ask the leader.
    ReadWithoutBarrier,
    /// One node applies two entries of a batch in the wrong order.
    SwappedEntries,
}

/// A node that runs.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) start: u64,
    pub(crate) replica: Replica,
    pub(crate) machine: Arc<ModelMachine>,
    disk: FakeDisk,
    pen: Arc<Mutex<Pen>>,
}

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) up: Option<Up>,
    /// What the disk holds while the node is down.
    image: Image,
    files: Files,
    checkpoint: u64,
    /// The checkpoint record, as it was when the power went.
    record: Option<Vec<u8>>,
    starts: u64,
    skew_ms: i64,
    /// The longest a sync takes, in microseconds.
    disk_us: u64,
    /// Its disk failed: it may halt.
    excused: bool,
    /// It was there from the beginning, or has been told that it joined.
    joined: bool,
    /// It was removed from the group and is never started again.
    retired: bool,
}

/// One simulated group.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) planted: Planted,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) network: Network,
    nodes: Mutex<BTreeMap<NodeId, Node>>,
    chance: Mutex<Chance>,
    folder: TempDir,
}

struct NoApplication;

impl Application for NoApplication {
    fn admit(&self, _: JoinRequest) -> Later<'_, Result<Grant, String>> {
        Box::pin(async { Err("joins are not simulated".into()) })
    }

    fn answer(&self, _: NodeId, _: Bytes) -> Later<'_, Result<Bytes, String>> {
        Box::pin(async { Err("nothing is asked".into()) })
    }

    fn safe(&self) -> &dyn Safe {
        &Unsealed
    }
}

impl World {
    pub(crate) fn new(seed: u64, planted: Planted, trace: bool) -> Arc<Self> {
        // In memory where there is such a thing: what is there is small and synced often.
        let memory = tempfile::tempdir_in("/dev/shm");
        Arc::new(Self {
            seed,
            planted,
            ledger: Arc::new(Ledger::new(trace)),
            network: Network::new(seed ^ 0x6e65_7477_6f72_6b00),
            nodes: Mutex::default(),
            chance: Mutex::new(Chance(seed ^ 0x776f_726c_6400)),
            folder: memory.or_else(|_| tempfile::tempdir()).unwrap(),
        })
    }

    pub(crate) fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Node>> {
        self.nodes.lock().unwrap()
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.chance.lock().unwrap().below(end)
    }

    pub(crate) fn done(&self, what: &'static str, about: impl Into<String>) {
        self.ledger.note(Event::Done { what, about: about.into() });
    }

    /// A node as the membership knows it.
    pub(crate) fn about(node: NodeId) -> About {
        let (api_url, zone) = (String::new(), String::new());
        About { peer_address: format!("node-{node}"), api_url, zone, standby: false }
    }

    fn config(&self, station: Station) -> Config {
        let ms = Duration::from_millis;
        Config {
            node: station.node,
            folder: self.folder(station),
            peer_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            peer_advertise: format!("node-{}", station.node),
            api_url: String::new(),
            zone: String::new(),
            stabilization: ms(300),
            heartbeat: ms(50),
            election: (ms(300), ms(600)),
            segment_bytes: SEGMENT_BYTES,
            proposal_bytes_max: 1 << 16,
            checkpoint_every: ms(200 + self.seed % 5 * 100),
            keep_entries: self.seed % 3 * 10,
            held_at_start: false,
        }
    }

    /// Each start has its own: what an earlier one still does after its power was cut must not be seen.
    fn folder(&self, station: Station) -> PathBuf {
        self.folder.path().join(format!("{}-{}", station.node, station.start))
    }

    /// A node that has never run, of the first members or to join them.
    pub(crate) fn add(&self, node: NodeId, joined: bool) {
        let fresh = Node {
            up: None,
            image: Image::default(),
            files: Files::default(),
            checkpoint: 0,
            record: None,
            starts: 0,
            skew_ms: 0,
            disk_us: 1_000,
            excused: false,
            joined,
            retired: false,
        };
        self.nodes().insert(node, fresh);
    }

    /// Power on.
    pub(crate) async fn start(self: &Arc<Self>, node: NodeId) {
        if let Err(fault) = self.try_start(node).await {
            self.ledger.note(Event::Halted { node, why: format!("it does not start: {fault}") });
        }
    }

    async fn try_start(self: &Arc<Self>, id: NodeId) -> Result<(), Fault> {
        let (station, disk, files, skew_ms) = {
            let mut nodes = self.nodes();
            let Some(node) = nodes.get_mut(&id).filter(|node| node.up.is_none() && !node.retired) else {
                return Ok(());
            };
            node.starts += 1;
            node.excused = false;
            let disk = FakeDisk::running(node.image.clone(), self.seed << 32 | id << 16 | node.starts << 8);
            let station = Station { node: id, start: node.starts };
            std::fs::create_dir_all(self.folder(station)).unwrap();
            if let Some(record) = &node.record {
                std::fs::write(self.folder(station).join("checkpoint"), record).unwrap();
            }
            (station, disk, node.files.clone(), node.skew_ms)
        };
        if self.planted == Planted::LyingSync {
            disk.misbehave(Wrong::LyingSync);
        }
        let (log, pen) = LogStore::simulated(&disk, GroupId::MAIN, SEGMENT_BYTES)?;
        let swaps = self.planted == Planted::SwappedEntries && id == 1;
        let machine = Arc::new(ModelMachine::new(id, station.start, Arc::clone(&self.ledger), files, swaps));
        let host = Host::open(machine.clone(), GroupId::MAIN, &self.folder(station))?;
        host.clock.skew_ms.store(skew_ms, Ordering::Relaxed);
        let checkpoint = host.checkpoint().index();
        let vote = openraft::RaftLogReader::read_vote(&mut log.clone()).await.unwrap();
        self.ledger.up(id, station.start);
        self.ledger.note(Event::Started { node: id, start: station.start, vote, checkpoint });
        let peers = Peers::new(id, GroupId::MAIN, TRUST.clone(), Vec::new())?;
        let world = Arc::downgrade(self);
        let _ = peers.carrier.set(Box::new(move |to, queue| {
            if let Some(world) = world.upgrade() {
                tokio::spawn(carry(world, station, to, queue));
            }
        }));
        let pen = Arc::new(Mutex::new(pen));
        tokio::spawn(write_log(Arc::clone(self), station, disk.clone(), Arc::clone(&pen)));
        let replica =
            Replica::assemble(self.config(station), peers, host, log, Arc::new(NoApplication)).await?;
        tokio::spawn(watch(Arc::clone(self), station, replica.clone()));
        let up = Up { start: station.start, replica, machine, disk, pen };
        self.nodes().get_mut(&id).unwrap().up = Some(up);
        Ok(())
    }

    /// The power of a node goes: what was not synced may be lost, or torn.
    pub(crate) fn cut_power(&self, id: NodeId) {
        let mut nodes = self.nodes();
        let Some(node) = nodes.get_mut(&id) else { return };
        let Some(up) = node.up.take() else { return };
        self.ledger.down(id);
        self.ledger.note(Event::Cut { node: id });
        let mut chance = Chance(self.below(u64::MAX));
        // In the middle of a write, as often as not.
        if chance.one_in(2) {
            up.disk.die_after(chance.below(6));
            up.pen.lock().unwrap().write();
        }
        node.image = up.disk.cut_power(&mut chance);
        if self.planted == Planted::UnsyncedVote {
            node.image.names.remove("durable");
        }
        node.files = up.machine.content().cut_power(&mut chance);
        node.checkpoint = up.replica.core.host.checkpoint().index();
        let folder = self.folder(Station { node: id, start: up.start });
        node.record = std::fs::read(folder.join("checkpoint")).ok();
        drop(nodes);
        up.disk.die_after(0);
        tokio::spawn(async move {
            up.replica.core.stopping.send_replace(true);
            let _ = up.replica.core.raft.shutdown().await;
            up.replica.core.peers.close();
        });
    }

    /// Power off for good.
    pub(crate) fn retire(&self, id: NodeId) {
        self.cut_power(id);
        if let Some(node) = self.nodes().get_mut(&id) {
            node.retired = true;
        }
    }

    /// Repairs everything and starts whatever is down.
    pub(crate) async fn heal(self: &Arc<Self>) {
        *self.network.weather() = Weather::fair();
        let ids: Vec<NodeId> = self.nodes().keys().copied().collect();
        for id in ids {
            self.set_skew(id, 0);
            self.set_disk(id, 1_000);
            if self.excused(id) {
                self.cut_power(id);
            }
            self.start(id).await;
        }
        self.ledger.note(Event::Healed);
    }

    /// The next sync of a node's log fails: it has to halt.
    pub(crate) fn fail_disk(&self, id: NodeId) {
        let mut nodes = self.nodes();
        let Some(node) = nodes.get_mut(&id) else { return };
        node.excused = true;
        if let Some(up) = &node.up {
            up.disk.die_after(self.below(4));
        }
    }

    pub(crate) fn set_skew(&self, id: NodeId, skew_ms: i64) {
        if let Some(node) = self.nodes().get_mut(&id) {
            node.skew_ms = skew_ms;
            if let Some(up) = &node.up {
                up.replica.core.host.clock.skew_ms.store(skew_ms, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn set_disk(&self, id: NodeId, disk_us: u64) {
        if let Some(node) = self.nodes().get_mut(&id) {
            node.disk_us = disk_us;
        }
    }

    /// What runs on a node now.
    pub(crate) fn station(&self, node: NodeId) -> Option<Station> {
        let start = self.nodes().get(&node)?.up.as_ref()?.start;
        Some(Station { node, start })
    }

    /// Whether that start of a node still runs.
    pub(crate) fn is_up(&self, station: Station) -> bool {
        self.station(station.node) == Some(station)
    }

    pub(crate) fn core(&self, station: Station) -> Option<Arc<Core>> {
        let nodes = self.nodes();
        let up = nodes.get(&station.node)?.up.as_ref().filter(|up| up.start == station.start)?;
        Some(Arc::clone(&up.replica.core))
    }

    /// A node that runs, any, with what runs on it.
    pub(crate) fn any_up(&self) -> Option<(NodeId, Up)> {
        let nodes = self.nodes();
        let up: Vec<_> = nodes.iter().filter_map(|(id, node)| Some((*id, node.up.clone()?))).collect();
        if up.is_empty() { None } else { up.get(self.below(up.len() as u64) as usize).cloned() }
    }

    /// All nodes that run.
    pub(crate) fn ups(&self) -> Vec<Up> {
        self.nodes().values().filter_map(|node| node.up.clone()).collect()
    }

    /// Whether entry `index` is there if the power of all goes now and everything loose is lost.
    pub(crate) fn holds(&self, id: NodeId, index: u64) -> bool {
        let nodes = self.nodes();
        let Some(node) = nodes.get(&id) else { return false };
        let (image, checkpoint) = match &node.up {
            Some(up) => (up.disk.safe(), up.replica.core.host.checkpoint().index()),
            None => (node.image.clone(), node.checkpoint),
        };
        let log = LogStore::simulated(&FakeDisk::running(image, 0), GroupId::MAIN, SEGMENT_BYTES);
        checkpoint >= index || log.is_ok_and(|(log, _)| log.ends().1 >= index)
    }

    /// Takes note that a node has joined.
    pub(crate) fn welcome(&self, id: NodeId) {
        if let Some(node) = self.nodes().get_mut(&id) {
            node.joined = true;
        }
    }

    /// Whether a node has joined.
    pub(crate) fn has_joined(&self, id: NodeId) -> bool {
        self.nodes().get(&id).is_some_and(|node| node.joined)
    }

    fn excused(&self, id: NodeId) -> bool {
        self.nodes().get(&id).is_none_or(|node| node.excused)
    }
}

/// The log's writer as a task: a disk takes its time, and what is asked meanwhile joins the batch.
async fn write_log(world: Arc<World>, station: Station, disk: FakeDisk, pen: Arc<Mutex<Pen>>) {
    loop {
        let wanted = pen.lock().unwrap().wanted();
        wanted.await;
        let longest = world.nodes().get(&station.node).map_or(0, |node| node.disk_us);
        sleep(Duration::from_micros(50 + world.below(longest))).await;
        let mut pen = pen.lock().unwrap();
        if matches!(world.planted, Planted::UnsyncedVote | Planted::UnsyncedVoteTold) {
            disk.misbehave(if pen.writes_votes() { Wrong::LyingSync } else { Wrong::None });
        }
        if !pen.write() {
            return;
        }
    }
}

/// Reports what a node says of itself whenever that changes.
async fn watch(world: Arc<World>, station: Station, replica: Replica) {
    let Station { node, start } = station;
    let host = Arc::clone(&replica.core.host);
    drop(replica);
    let (mut applied, mut halted) = (host.applied.subscribe(), host.halted.subscribe());
    loop {
        tokio::select! {
            biased;
            changed = halted.changed() => if changed.is_ok() && !world.excused(node) {
                let why = halted.borrow().clone().unwrap_or_default();
                world.ledger.of(node, start, Event::Halted { node, why });
                return;
            } else {
                return;
            },
            changed = applied.changed() => if changed.is_err() { return; },
        }
        let Some(core) = world.core(station) else { continue };
        let committed = core.metrics().local_committed.map_or(0, |committed| committed.index);
        let applied = *applied.borrow_and_update();
        world.ledger.of(node, start, Event::Progress { node, start, committed, applied });
    }
}
