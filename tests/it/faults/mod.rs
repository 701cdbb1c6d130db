//! Faults of the network, of processes and of clocks, against three real nodes in namespaces of their own.
//!
//! While a fault lasts, sixteen clients count, rename and create, and whatever they were told is judged
//! afterwards: one history per key that a single register could have told (linearizability), every
//! acknowledged write there once, all nodes equal. `planted.rs` proves that the judge finds bugs.
//!
//! Each run prints its seed; `TF_TEST_SEED` repeats what is done and in which order by each client, though not
//! how threads and packets interleave. The last history of each lies under `target/tmp`. Start at `withstand`.

mod checker;
mod fault;
mod fleet;
mod history;
mod lab;
mod load;
mod planted;
mod proxy;
mod rng;
mod skew;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{
    fault::{Fault, Struck},
    fleet::Fleet,
    lab::{Lab, NODES},
    load::Load,
    proxy::Proxies,
    rng::Rng,
};
use crate::harness::await_condition;
pub use skew::Skew;

/// Writes that must succeed before, during and after a fault.
const PROGRESS: u64 = 40;
/// However busy the machine is: a cluster with a majority gets that far.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// One cluster at a time, whoever runs the tests.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster under load meets a fault, goes on, and ends with nothing lost, doubled or seen too late.
fn withstand(name: &str, fault: Fault) {
    if std::env::var_os("TF_TEST_QUICK").is_some() && !fault.is_quick() {
        return println!("LEFT OUT in a quick run: {name}");
    }
    let _alone = alone();
    let Some(lab) = Lab::open() else { return };
    let seed = Rng::seed();
    println!("{name}: TF_TEST_SEED={seed}");
    let skew = matches!(fault, Fault::SetClock(_)).then(Skew::build);
    let way = (fault == Fault::Delay).then(|| Proxies::open(&lab));
    let fleet =
        Fleet::start(lab, way, |node| skew.as_ref().map(|skew| skew.environment(node)).unwrap_or_default());
    let platform = fleet.platform();
    let load = Load::start(name, &fleet, &platform, seed);
    go_on(&load, "before the fault", || true);

    let mut rng = Rng::new(seed, usize::MAX);
    let lasts = fault.lasts(&mut rng);
    let mut struck = Struck::begin(fault, &fleet, skew.as_ref(), rng);
    load.mark("the fault begins");
    let began = Instant::now();
    go_on(&load, "during the fault", || {
        struck.go_on();
        began.elapsed() >= lasts && struck.shows()
    });
    struck.heal();
    load.mark("the fault is over");
    NODES.into_iter().for_each(|node| fleet.await_ready(node));
    go_on(&load, "after the fault", || true);

    let history = load.finish(&mut || fleet.await_equal_files(&platform));
    history.tell();
    let path = history.keep();
    if let Err(why) = checker::check(&history.first, &history.events) {
        panic!("not linearizable: {why}; the history is in {}", path.display());
    }
}

/// Waits until further writes were acknowledged and `more` holds.
fn go_on(load: &Load, when: &str, mut more: impl FnMut() -> bool) {
    let before = load.kept();
    await_condition(&format!("writes {when}"), PROGRESS_WITHIN, || {
        more() && load.kept() >= before + PROGRESS
    });
}

#[test]
fn a_leader_cut_off_from_its_peers() {
    withstand("a_leader_cut_off_from_its_peers", Fault::IsolateLeader);
}

#[test]
fn a_follower_cut_off_from_its_peers() {
    withstand("a_follower_cut_off_from_its_peers", Fault::IsolateFollower);
}

#[test]
fn a_leader_that_hears_nobody() {
    withstand("a_leader_that_hears_nobody", Fault::DeafLeader);
}

#[test]
fn a_leader_that_nobody_hears() {
    withstand("a_leader_that_nobody_hears", Fault::MuteLeader);
}

#[test]
fn one_link_cut_of_three() {
    withstand("one_link_cut_of_three", Fault::CutOneLink);
}

#[test]
fn a_network_that_comes_and_goes() {
    withstand("a_network_that_comes_and_goes", Fault::Flapping);
}

#[test]
fn two_hundred_milliseconds_between_nodes() {
    withstand("two_hundred_milliseconds_between_nodes", Fault::Delay);
}

#[test]
fn one_packet_lost_in_twenty() {
    withstand("one_packet_lost_in_twenty", Fault::Loss);
}

#[test]
fn a_leader_that_stands_still_for_ten_seconds() {
    withstand("a_leader_that_stands_still_for_ten_seconds", Fault::Freeze);
}

#[test]
fn a_clock_an_hour_ahead() {
    withstand("a_clock_an_hour_ahead", Fault::SetClock(3_600));
}

#[test]
fn a_clock_an_hour_behind() {
    withstand("a_clock_an_hour_behind", Fault::SetClock(-3_600));
}
