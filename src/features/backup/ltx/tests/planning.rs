//! Which files are chosen, by hand-made cases, and how they are called.

use super::super::{Gap, Layout, LtxName, plan};

fn names(list: &[(u8, u64, u64)]) -> Vec<LtxName> {
    list.iter().map(|&(level, min, max)| LtxName { level, min, max }).collect()
}

fn planned(list: &[(u8, u64, u64)], target: Option<u64>) -> Result<Vec<(u8, u64, u64)>, Gap> {
    let chosen = plan(&names(list), target)?;
    Ok(chosen.iter().map(|name| (name.level, name.min, name.max)).collect())
}

const CHAIN: &[(u8, u64, u64)] =
    &[(9, 1, 100), (9, 1, 50), (0, 101, 140), (0, 141, 141), (0, 142, 199), (0, 51, 100), (1, 101, 141)];

#[test]
fn the_latest_snapshot_and_what_goes_furthest_are_chosen() {
    assert_eq!(planned(CHAIN, None).unwrap(), [(9, 1, 100), (1, 101, 141), (0, 142, 199)]);
}

#[test]
fn a_target_is_reached_exactly_or_not_at_all() {
    assert_eq!(planned(CHAIN, Some(140)).unwrap(), [(9, 1, 100), (0, 101, 140)]);
    assert_eq!(planned(CHAIN, Some(100)).unwrap(), [(9, 1, 100)]);
    assert_eq!(planned(CHAIN, Some(50)).unwrap(), [(9, 1, 50)]);
    assert_eq!(planned(CHAIN, Some(120)), Err(Gap::NotReached { have: 100, target: 120 }));
    assert_eq!(planned(CHAIN, Some(200)), Err(Gap::NotReached { have: 199, target: 200 }));
    assert_eq!(planned(CHAIN, Some(49)), Err(Gap::NoBeginning));
}

#[test]
fn a_gap_is_an_error_unless_the_target_lies_before_it() {
    let gap = &[(9, 1, 10), (0, 11, 12), (0, 14, 20)];
    assert_eq!(planned(gap, None), Err(Gap::Missing { have: 12, next: 14 }));
    assert_eq!(planned(gap, Some(12)).unwrap(), [(9, 1, 10), (0, 11, 12)]);
    assert_eq!(planned(gap, Some(20)), Err(Gap::NotReached { have: 12, target: 20 }));
}

#[test]
fn a_chain_from_the_first_transaction_needs_no_snapshot() {
    assert_eq!(planned(&[(0, 2, 2), (0, 1, 1)], None).unwrap(), [(0, 1, 1), (0, 2, 2)]);
    assert_eq!(planned(&[(0, 2, 2)], None), Err(Gap::NoBeginning));
    assert_eq!(planned(&[], None), Err(Gap::NoBeginning));
    assert_eq!(planned(&[], Some(3)), Err(Gap::NoBeginning));
}

#[test]
fn of_equal_reach_the_earlier_begin_and_then_the_higher_level_wins() {
    let list = &[(9, 1, 5), (0, 6, 9), (2, 6, 9), (1, 4, 9)];
    assert_eq!(planned(list, None).unwrap(), [(9, 1, 5), (1, 4, 9)]);
    assert_eq!(planned(&[(9, 1, 5), (0, 6, 9), (2, 6, 9)], None).unwrap(), [(9, 1, 5), (2, 6, 9)]);
}

#[test]
fn what_lies_within_what_is_there_is_neither_chosen_nor_missed() {
    let list = &[(9, 1, 100), (0, 20, 30), (3, 90, 120), (0, 101, 110), (0, 111, 115)];
    assert_eq!(planned(list, None).unwrap(), [(9, 1, 100), (3, 90, 120)]);
}

#[test]
fn names_are_those_of_litestream_and_read_back() {
    let name = LtxName { level: 9, min: 1, max: 0xabc };
    let [bucket, folder] =
        ["0009/", "ltx/9/"].map(|level| format!("{level}0000000000000001-0000000000000abc.ltx"));
    assert_eq!((name.key(Layout::Bucket), name.key(Layout::Folder)), (bucket.clone(), folder.clone()));
    assert_eq!(LtxName::parse(Layout::Bucket, &bucket), Some(name));
    assert_eq!(LtxName::parse(Layout::Folder, &folder), Some(name));
    assert_eq!(LtxName::parse(Layout::Folder, &bucket), None);
}

#[test]
fn what_only_resembles_a_name_is_none() {
    for key in [
        "",
        "0009",
        "0009/",
        "000a/0000000000000001-0000000000000abc.ltx",
        "0009/0000000000000001-0000000000000ABC.ltx",
        "0009/0000000000000000-0000000000000abc.ltx",
        "0009/0000000000000002-0000000000000001.ltx",
        "0009/+000000000000001-0000000000000abc.ltx",
        "0009/1-abc.ltx",
        "0009/0000000000000001-0000000000000abc.ltx.tmp",
        "000+9/0000000000000001-0000000000000abc.ltx",
        "x/0009/0000000000000001-0000000000000abc.ltx",
    ] {
        assert_eq!(LtxName::parse(Layout::Bucket, key), None, "{key}");
    }
}
