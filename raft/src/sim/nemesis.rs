//! Trouble: what is done to the group while clients work, drawn from the seed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Chance,
    network::Weather,
    world::{Up, World},
};
use crate::{contract::NodeId, membership::ChangeError, replica::Leadership, wire::Change};

/// No more nodes than that are ever made.
const NODES_MAX: u64 = 6;
/// No more than that are members at once.
const MEMBERS_MAX: usize = 5;
/// Time for a change of the membership.
const CHANGE: Duration = Duration::from_secs(2);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Makes trouble for that long.
pub(crate) async fn run(world: Arc<World>, long: Duration) {
    let mut chance = Chance(world.seed ^ 0x6e65_6d65_7369_7300);
    let until = Instant::now() + long;
    while Instant::now() < until {
        sleep(ms(20 + chance.below(400))).await;
        strike(&world, &mut chance);
    }
}

fn strike(world: &Arc<World>, chance: &mut Chance) {
    let Some(node) = victim(world, chance) else { return };
    match chance.below(20) {
        0..=4 => lose_power(world, chance, &[node]),
        5 if chance.one_in(2) => lose_power(world, chance, &ids(world)),
        5..=8 => partition(world, chance, node),
        9..=10 => spoil_weather(world, chance),
        11..=12 => slow_disk(world, chance, node),
        13 => break_disk(world, chance, node),
        14..=15 => jump_clock(world, chance, node),
        16..=17 => transfer(world, node),
        _ => change_members(world, chance, node),
    }
}

fn ids(world: &World) -> Vec<NodeId> {
    world.nodes().keys().copied().collect()
}

/// The leader, as often as not.
fn victim(world: &World, chance: &mut Chance) -> Option<NodeId> {
    let (led, any) = (chance.one_in(2), chance.next());
    let ids = ids(world);
    let leader = leader(world).filter(|_| led).map(|(id, _)| id);
    leader.or_else(|| ids.get((any % ids.len() as u64) as usize).copied())
}

/// A node that takes itself for the leader.
pub(crate) fn leader(world: &World) -> Option<(NodeId, Up)> {
    let nodes = world.nodes();
    let leads = |up: &&Up| matches!(*up.replica.core.leadership.borrow(), Leadership::Leader { .. });
    nodes.iter().find_map(|(id, node)| Some((*id, node.up.as_ref().filter(leads)?.clone())))
}

fn lose_power(world: &Arc<World>, chance: &mut Chance, victims: &[NodeId]) {
    for node in victims {
        world.cut_power(*node);
        come_back(world, *node, ms(chance.below(1_500)));
    }
}

fn come_back(world: &Arc<World>, node: NodeId, after: Duration) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        sleep(after).await;
        world.start(node).await;
    });
}

/// Cuts a node off from all, or from some, in both directions or in one.
fn partition(world: &Arc<World>, chance: &mut Chance, node: NodeId) {
    let (all, from, to) = (chance.one_in(2), !chance.one_in(3), !chance.one_in(3));
    let mut blocked = BTreeSet::new();
    for other in ids(world) {
        if other != node && (all || chance.one_in(2)) {
            if from {
                blocked.insert((node, other));
            }
            if to || !from {
                blocked.insert((other, node));
            }
        }
    }
    world.done("partition", format!("{blocked:?}"));
    world.network.weather().blocked.extend(&blocked);
    let (world, long) = (Arc::clone(world), ms(100 + chance.below(2_500)));
    tokio::spawn(async move {
        sleep(long).await;
        world.network.weather().blocked.retain(|link| !blocked.contains(link));
    });
}

fn spoil_weather(world: &Arc<World>, chance: &mut Chance) {
    let drawn = Weather {
        lost_one_in: [0, 5, 20][chance.below(3) as usize],
        odd_one_in: [0, 4, 20][chance.below(3) as usize],
        delay_us: [2_000, 50_000, 400_000][chance.below(3) as usize],
        ..Weather::fair()
    };
    world.done("bad weather", format!("{drawn:?}"));
    let set = |world: &World, drawn: Weather| {
        let mut weather = world.network.weather();
        *weather = Weather { blocked: weather.blocked.clone(), ..drawn };
    };
    set(world, drawn);
    let (world, long) = (Arc::clone(world), ms(200 + chance.below(2_000)));
    tokio::spawn(async move {
        sleep(long).await;
        set(&world, Weather::fair());
    });
}

fn slow_disk(world: &Arc<World>, chance: &mut Chance, node: NodeId) {
    let slow_us = [20_000, 150_000, 800_000][chance.below(3) as usize];
    world.done("slow disk", format!("node {node}, {slow_us} us"));
    world.set_disk(node, slow_us);
    let (world, long) = (Arc::clone(world), ms(200 + chance.below(2_500)));
    tokio::spawn(async move {
        sleep(long).await;
        world.set_disk(node, 1_000);
    });
}

fn break_disk(world: &Arc<World>, chance: &mut Chance, node: NodeId) {
    world.done("broken disk", format!("node {node}"));
    world.fail_disk(node);
    let (world, long) = (Arc::clone(world), ms(100 + chance.below(1_000)));
    tokio::spawn(async move {
        sleep(long).await;
        world.cut_power(node);
        world.start(node).await;
    });
}

fn jump_clock(world: &Arc<World>, chance: &mut Chance, node: NodeId) {
    let skew_ms = [-3_600_000, -5_000, -50, 0, 50, 5_000, 3_600_000][chance.below(7) as usize];
    world.done("clock jump", format!("node {node}, {skew_ms} ms"));
    world.set_skew(node, skew_ms);
}

fn transfer(world: &Arc<World>, to: NodeId) {
    let Some((_, up)) = world.any_up() else { return };
    world.done("transfer", format!("to node {to}"));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        if up.replica.transfer_leadership(to, CHANGE).await.is_ok() {
            world.done("transferred", format!("to node {to}"));
        }
    });
}

fn change_members(world: &Arc<World>, chance: &mut Chance, node: NodeId) {
    let Some((_, up)) = world.any_up() else { return };
    let kind = chance.below(4);
    let members = up.replica.core.metrics().membership_config.nodes().count();
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let made = ids(&world).len() as u64;
        let (what, changed): (_, Result<(), ChangeError>) = match kind {
            0 if made < NODES_MAX && members < MEMBERS_MAX => {
                let (fresh, about) = (made + 1, World::about(made + 1));
                world.add(fresh, false);
                world.start(fresh).await;
                let join = Change::AddLearner { node: fresh, about };
                let joined = up.replica.core.change(join, CHANGE).await;
                if joined.is_ok() {
                    world.welcome(fresh);
                }
                ("joined", joined)
            }
            // Before that the join may come after the removal, which finds no member and is content.
            1 if world.has_joined(node) => {
                let gone = up.replica.remove(node, false, CHANGE).await;
                if gone.is_ok() {
                    world.retire(node);
                }
                ("removed", gone)
            }
            2 => ("demoted", up.replica.demote(node, false, CHANGE).await),
            _ => ("promoted", up.replica.promote(node, CHANGE).await),
        };
        if changed.is_ok() {
            world.done(what, format!("node {node}"));
        }
    });
}
