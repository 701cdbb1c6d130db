//! Power cuts at every operation.

use super::{
    Chance,
    fake::{Act, FakeDisk, Fault as Wrong, Image},
    model::{Content, Session},
};

/// What was promised and what was asked when the power went.
fn told(acts: &[Act]) -> (usize, usize) {
    acts.iter().fold((0, 0), |(acked, sent), act| match act {
        Act::Acked(number) => (acked.max(*number), sent),
        Act::Asked(number) => (acked, sent.max(*number)),
        _ => (acked, sent),
    })
}

/// The log must be what it was after some prefix of the requests, and the prefix must reach at least
/// to the last acknowledged one. This says at once that everything acknowledged is there, that the
/// vote does not go back, and that no entry is made up or mixed.
fn check(found: &Content, history: &[(usize, Content)], acked: usize, sent: usize) -> Result<(), String> {
    let last_acked = history.iter().rposition(|(number, _)| *number <= acked).unwrap_or(0);
    let from = if acked == 0 { 0 } else { last_acked };
    let fits = history
        .iter()
        .skip(from)
        .take_while(|(number, _)| *number <= sent)
        .any(|(_, content)| content == found);
    if fits {
        return Ok(());
    }
    Err(format!(
        "after requests {acked} (acknowledged) to {sent} (asked) the log holds vote {:?}, purged {:?}, entries {:?}; \
         acknowledged were vote {:?}, purged {:?}, entries {:?}",
        found.vote.as_ref().map(|vote| vote[0]),
        found.purged,
        found.items.keys(),
        history[from].1.vote.as_ref().map(|vote| vote[0]),
        history[from].1.purged,
        history[from].1.items.keys(),
    ))
}

/// Runs a workload on a disk.
fn work(
    start: &Image,
    wrong: Wrong,
    seed: u64,
    steps: usize,
) -> Result<(FakeDisk, Vec<(usize, Content)>), String> {
    let disk = FakeDisk::new(start.clone(), wrong, seed << 20);
    let mut session = Session::open(&disk, seed).map_err(|fault| fault.to_string())?;
    for _ in 0..steps {
        session.step();
    }
    let history = session.history.clone();
    session.close();
    Ok((disk, history))
}

/// Cuts a run at operation `cut` and opens what is left; then works on, cuts that run at some
/// operation (recovery included), and so on for `depth` runs.
fn cut_and_go_on(
    disk: &FakeDisk,
    history: &[(usize, Content)],
    cut: usize,
    chance: &mut Chance,
    depth: usize,
) -> Result<usize, String> {
    let (acked, sent) = told(&disk.acts()[..cut]);
    let left = disk.crash(cut, chance);
    let (disk, next) = work(&left, Wrong::None, chance.next(), 3)?;
    check(&next[0].1, history, acked, sent)?;
    // A second start, without a crash between, must find the same.
    let again = FakeDisk::new(disk.now(), Wrong::None, 0);
    let content = Session::open(&again, 1).map_err(|fault| fault.to_string())?.content().clone();
    if content != next.last().unwrap().1 {
        return Err("an orderly stop changed the log".to_owned());
    }
    let mut cuts = 1;
    if depth > 1 {
        let cut = chance.below(disk.acts().len() as u64 + 1) as usize;
        cuts += cut_and_go_on(&disk, &next, cut, chance, depth - 1)?;
    }
    Ok(cuts)
}

/// Every cut of one workload; answers how many were tried, or the first that went wrong.
fn every_cut(seed: u64, steps: usize, wrong: Wrong) -> Result<usize, String> {
    let (disk, history) = work(&Image::default(), wrong, seed, steps)?;
    let mut chance = Chance(seed ^ 0xc0ff_ee00);
    let mut cuts = 0;
    for cut in 0..=disk.acts().len() {
        for _ in 0..2 {
            cuts += cut_and_go_on(&disk, &history, cut, &mut chance, 3)
                .map_err(|why| format!("seed {seed} cut {cut}: {why}"))?;
        }
    }
    Ok(cuts)
}

fn every_cut_of(seeds: std::ops::RangeInclusive<u64>) -> usize {
    seeds.map(|seed| every_cut(seed, 30, Wrong::None).unwrap_or_else(|why| panic!("{why}"))).sum()
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_prefix_with_everything_acknowledged() {
    let cuts = every_cut_of(1..=2);
    println!("{cuts} power cuts");
    assert!(cuts > 1000, "only {cuts} cuts: the workload has become too small");
}

#[test]
#[ignore = "takes minutes; for the nightly run"]
fn a_power_cut_at_any_operation_of_many_workloads() {
    println!("{} power cuts", every_cut_of(100..=160));
}

#[test]
fn the_crash_test_sees_a_disk_that_acknowledges_a_sync_too_early() {
    let seen = (1..=8).filter(|seed| every_cut(*seed, 40, Wrong::LyingSync).is_err()).count();
    assert_eq!(seen, 8, "a log on a lying disk passed the crash test");
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_acknowledged_and_a_restart_finds_all_that_was() {
    for number in 1..40 {
        for wrong in [Wrong::FailSync(number), Wrong::FailWrite(number)] {
            let Ok((disk, history)) = work(&Image::default(), wrong, number as u64, 40) else { continue };
            let acts = disk.acts();
            let (acked, sent) = told(&acts);
            let total = history.last().unwrap().0;
            assert!(acked < total, "{wrong:?}: the fault was forgotten");
            let mut chance = Chance(number as u64);
            for _ in 0..8 {
                let again = FakeDisk::new(disk.crash(acts.len(), &mut chance), Wrong::None, 99);
                let session = Session::open(&again, 1).unwrap();
                check(session.content(), &history, acked, sent).unwrap();
            }
        }
    }
}
