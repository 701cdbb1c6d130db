//! One seed from beginning to end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    client,
    event::Event,
    ledger::Outcome,
    machine::{FILES, Write},
    nemesis,
    world::{Planted, Up, World},
};
use crate::contract::NodeId;

/// How long there is trouble, in virtual time.
const TROUBLE: Duration = Duration::from_secs(5);
/// How long the group may take to come together afterwards.
const RECOVERY: Duration = Duration::from_secs(20);
const CLIENTS: u64 = 3;

/// Runs a seed.
pub(crate) fn run(seed: u64, planted: Planted, trace: bool) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _here = super::Begun::new(seed, &runtime);
    runtime.block_on(live(seed, planted, trace))
}

async fn live(seed: u64, planted: Planted, trace: bool) -> Outcome {
    let world = World::new(seed, planted, trace);
    let members: Vec<NodeId> = (1..=if seed.is_multiple_of(4) { 5 } else { 3 }).collect();
    for node in &members {
        world.add(*node, true);
        world.start(*node).await;
    }
    let founders: BTreeMap<_, _> = members.iter().map(|node| (*node, World::about(*node))).collect();
    let (_, first) = world.any_up().unwrap();
    first.replica.core.raft.initialize(founders).await.unwrap();
    let stop = watch::Sender::new(false);
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|name| tokio::spawn(client::run(Arc::clone(&world), name, stop.subscribe())))
        .collect();
    nemesis::run(Arc::clone(&world), TROUBLE).await;
    // What was begun comes to its end: a node may be on its way up, a partition on its way out.
    sleep(Duration::from_secs(3)).await;
    stop.send_replace(true);
    for client in clients {
        client.await.unwrap();
    }
    world.heal().await;
    if let Err(why) = come_together(&world).await {
        world.ledger.note(Event::Apart { why });
    }
    world.ledger.outcome()
}

/// Waits until a write goes through and all members hold the same.
async fn come_together(world: &Arc<World>) -> Result<(), String> {
    let healed = Instant::now();
    let mut value = 0;
    let index = loop {
        value += 1;
        let Some((node, up)) = world.any_up() else { return Err("no node is up".into()) };
        let last = Write { file: (value % u64::from(FILES)) as u8, value };
        if let Some(index) = client::write(world, node, &up, last, Duration::from_secs(2)).await {
            break index;
        }
        if healed.elapsed() > RECOVERY {
            return Err(format!("no write in {RECOVERY:?} after everything was repaired: {}", state(world)));
        }
    };
    let members = loop {
        let members = members(world);
        let caught_up = |(_, up): &(NodeId, Up)| up.replica.applied_index() >= index;
        if !members.is_empty() && members.iter().all(caught_up) {
            break members;
        }
        if healed.elapsed() > RECOVERY * 2 {
            return Err(format!("not all members come to hold entry {index}: {}", state(world)));
        }
        sleep(Duration::from_millis(50)).await;
    };
    for (node, up) in members {
        for (file, values) in (0..FILES).zip(content(&up)) {
            world.ledger.note(Event::Ended { node, file, values });
        }
    }
    Ok(())
}

fn content(up: &Up) -> Vec<Vec<u64>> {
    (0..FILES).map(|file| up.machine.read(file)).collect()
}

/// The members by the leader's word; none while there is no leader or a member is down.
fn members(world: &World) -> Vec<(NodeId, Up)> {
    let Some((_, leader)) = nemesis::leader(world) else { return Vec::new() };
    let metrics = leader.replica.core.metrics();
    let nodes = world.nodes();
    let members = metrics.membership_config.nodes();
    let up = members.map(|(id, _)| Some((*id, nodes.get(id)?.up.clone()?)));
    up.collect::<Option<_>>().unwrap_or_default()
}

fn state(world: &World) -> String {
    let nodes = world.nodes();
    let told = nodes.iter().map(|(id, node)| match &node.up {
        Some(up) => format!("node {id}: {}", up.replica.core.metrics()),
        None => format!("node {id} is down"),
    });
    told.collect::<Vec<_>>().join("; ")
}
