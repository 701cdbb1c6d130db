//! The test of the test: bugs planted in the product, which the judge must find.
//!
//! The binary has them on demand, in debug builds only: see `raft/src/planted.rs`.

use std::time::{Duration, Instant};

use super::{
    alone, checker,
    fault::{Fault, Struck},
    fleet::Fleet,
    go_on,
    lab::Lab,
    load::Load,
    rng::Rng,
};

/// A leader with this bug is cut off; answers what the judge says about what clients were told.
fn verdict(bug: &str) -> Option<Result<(), String>> {
    let _alone = alone();
    let lab = Lab::open()?;
    let seed = Rng::seed();
    println!("planted {bug}: TF_TEST_SEED={seed}");
    let asked = tempfile::NamedTempFile::new().unwrap();
    let path = asked.path().to_str().unwrap().to_owned();
    let fleet = Fleet::start(lab, None, |_| vec![("TF_TEST_BUG".to_owned(), path.clone())]);
    let load = Load::start(bug, &fleet, &fleet.platform(), seed);
    std::fs::write(asked.path(), bug).unwrap();
    go_on(&load, "before the fault", || true);
    let mut struck = Struck::begin(Fault::IsolateLeader, &fleet, None, Rng::new(seed, usize::MAX));
    let began = Instant::now();
    go_on(&load, "during the fault", || began.elapsed() > Duration::from_secs(6) && struck.shows());
    let history = load.cut_off();
    history.tell();
    history.keep();
    let verdict = checker::check(&history.first, &history.events);
    println!("{verdict:?}");
    Some(verdict)
}

#[test]
fn a_leader_that_acknowledges_before_a_majority_has_it_is_found() {
    let Some(verdict) = verdict("early_ack") else { return };
    let why = verdict.expect_err("writes that only one node had were acknowledged, and nobody saw it");
    assert!(why.contains("no order explains it"), "{why}");
}

#[test]
fn strong_reads_of_local_state_are_found() {
    if std::env::var_os("TF_TEST_QUICK").is_some() {
        return println!("LEFT OUT in a quick run: strong reads of local state");
    }
    let Some(verdict) = verdict("stale_reads") else { return };
    let why = verdict.expect_err("strong reads answered old values, and nobody saw it");
    assert!(why.contains("no order explains it"), "{why}");
}
