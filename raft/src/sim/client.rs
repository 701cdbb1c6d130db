//! Clients: they write unique values and read whole files, on whatever node they reach.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::sleep};

use super::{
    Chance,
    event::Event,
    machine::{FILES, Write},
    network::Station,
    world::{Planted, Up, World},
};
use crate::contract::NodeId;

/// Works until told to stop.
pub(crate) async fn run(world: Arc<World>, name: u64, stop: watch::Receiver<bool>) {
    let mut chance = Chance(world.seed ^ name << 40);
    let mut number = name << 20;
    while !*stop.borrow() {
        sleep(Duration::from_millis(chance.below(60))).await;
        let Some((node, up)) = world.any_up() else { continue };
        number += 1;
        let file = chance.below(u64::from(FILES)) as u8;
        let within = Duration::from_millis(300 + chance.below(2_000));
        if chance.below(10) < 6 {
            write(&world, node, &up, Write { file, value: number }, within).await;
        } else {
            read(&world, node, &up, file, number, within).await;
        }
    }
}

/// Writes; where, if that was acknowledged.
pub(crate) async fn write(
    world: &World,
    node: NodeId,
    up: &Up,
    write: Write,
    within: Duration,
) -> Option<u64> {
    let Write { file, value } = write;
    world.ledger.note(Event::Asked { value, file });
    let body = Bytes::from(postcard::to_stdvec(&write).unwrap());
    let done = up.replica.propose(body, within).await;
    // A node whose power has gone tells nobody anything.
    let (Ok(done), true) = (done, world.is_up(Station { node, start: up.start })) else { return None };
    let mut place = [0; 8];
    place.copy_from_slice(&done.reply);
    let place = u64::from_le_bytes(place) as usize;
    // Looking at every disk is dear: one in eight is checked.
    let (holders, voters) = if value.is_multiple_of(8) { holders(world, done.index) } else { (1, 1) };
    world.ledger.note(Event::Acknowledged { value, index: done.index, place, holders, voters });
    Some(done.index)
}

/// How many voters hold an entry for certain, and of how many; by the best of the memberships that may count. A
/// node that lags knows an old one, a leader that lost its office one that never came to count.
fn holders(world: &World, index: u64) -> (usize, usize) {
    let slack = |(holders, voters): &(usize, usize)| *holders as i64 * 2 - *voters as i64;
    let worst = |membership: &crate::types::StoredMembership| {
        let sets = membership.get_joint_config().iter();
        let counted = sets.map(|set| (set.iter().filter(|id| world.holds(**id, index)).count(), set.len()));
        counted.min_by_key(slack).unwrap_or((0, 0))
    };
    let told: Vec<_> = world.ups().iter().map(|up| up.replica.core.metrics()).collect();
    let known = told.iter().flat_map(|told| [&told.membership_config, &told.committed_membership_config]);
    known.map(|membership| worst(membership)).max_by_key(slack).unwrap_or((0, 0))
}

/// Reads a file.
async fn read(world: &World, node: NodeId, up: &Up, file: u8, read: u64, within: Duration) {
    world.ledger.note(Event::ReadBegan { read, file });
    let allowed =
        world.planted == Planted::ReadWithoutBarrier || up.replica.read_barrier(within).await.is_ok();
    if allowed && world.is_up(Station { node, start: up.start }) {
        let values = up.machine.read(file);
        world.ledger.note(Event::Read { read, file, values });
    }
}
