//! Who is wrong when nodes differ. Pure: no clock, no network.

use std::collections::BTreeMap;

use crate::store::Sum;

/// What the sums of one file at one entry say about the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everybody who answered holds the same.
    Equal,
    /// More than half of all members hold the same; these hold something else.
    Wrong {
        /// Those that differ.
        wrong: Vec<u64>,
        /// Those that make the majority.
        right: Vec<u64>,
    },
    /// They differ, and no group is more than half of all members.
    Undecided {
        /// Those that differ from the leader.
        doubtful: Vec<u64>,
    },
}

/// Judges sums of the same file after the same entry, by node. `members` counts those who did not answer too: a
/// group that is small among all must not overrule others because some are silent.
pub fn judge(members: usize, leader: u64, sums: &BTreeMap<u64, Sum>) -> Verdict {
    let mut groups: BTreeMap<Sum, Vec<u64>> = BTreeMap::new();
    for (node, sum) in sums {
        groups.entry(*sum).or_default().push(*node);
    }
    if groups.len() <= 1 {
        return Verdict::Equal;
    }
    let majority = groups.values().find(|nodes| nodes.len() * 2 > members).cloned();
    if let Some(right) = majority {
        let wrong = sums.keys().copied().filter(|node| !right.contains(node)).collect();
        return Verdict::Wrong { wrong, right };
    }
    let leaders = sums.get(&leader);
    let differs = |(_, sum): &(&u64, &Sum)| leaders != Some(*sum);
    Verdict::Undecided { doubtful: sums.iter().filter(differs).map(|(node, _)| *node).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Nodes 1, 2, ... hold what the letters say; a dash has not answered.
    fn judged(leader: u64, held: &str) -> Verdict {
        let sum = |letter: char| Sum::try_from(format!("{:032x}", u32::from(letter))).unwrap();
        let numbered = (1..).zip(held.chars()).filter(|(_, letter)| *letter != '-');
        judge(held.len(), leader, &numbered.map(|(node, letter)| (node, sum(letter))).collect())
    }

    fn wrong(wrong: &[u64], right: &[u64]) -> Verdict {
        Verdict::Wrong { wrong: wrong.to_vec(), right: right.to_vec() }
    }

    fn undecided(doubtful: &[u64]) -> Verdict {
        Verdict::Undecided { doubtful: doubtful.to_vec() }
    }

    #[test]
    fn equal_nodes_raise_no_alarm_however_many_are_silent() {
        for held in ["aaa", "aa-", "a--", "a", "aa", "aaaaa", "a-a-a"] {
            assert_eq!(judged(1, held), Verdict::Equal, "{held}");
        }
    }

    #[test]
    fn a_majority_of_all_members_decides_even_against_the_leader() {
        assert_eq!(judged(1, "aab"), wrong(&[3], &[1, 2]));
        assert_eq!(judged(1, "baa"), wrong(&[1], &[2, 3]));
        assert_eq!(judged(2, "aabca"), wrong(&[3, 4], &[1, 2, 5]));
        assert_eq!(judged(1, "aa-ba"), wrong(&[4], &[1, 2, 5]));
    }

    #[test]
    fn without_a_majority_of_all_members_those_who_differ_from_the_leader_are_doubtful() {
        assert_eq!(judged(1, "ab"), undecided(&[2]));
        assert_eq!(judged(2, "ab"), undecided(&[1]));
        assert_eq!(judged(1, "ab-"), undecided(&[2]));
        assert_eq!(judged(3, "abc"), undecided(&[1, 2]));
        assert_eq!(judged(1, "aabb"), undecided(&[3, 4]));
        // Two of five who answer are not overruled by two others while one is silent.
        assert_eq!(judged(1, "aabb-"), undecided(&[3, 4]));
    }
}
