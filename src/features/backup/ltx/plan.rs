//! Which files make up a database. The choice is litestream's (`CalcRestorePlan` of 0.5.x): what it would restore from
//! the same names is what we restore, and where it would fail we fail.

use std::{cmp::Reverse, error::Error, fmt};

use super::{LtxName, SNAPSHOT_LEVEL};

/// Why no database can be made of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Nothing begins at the first transaction: there is no snapshot, and no file from 1.
    NoBeginning,
    /// The transaction after `have` is in no file, although later ones are.
    Missing {
        /// The last transaction that the files lead to without a gap.
        have: u64,
        /// Where the next file begins.
        next: u64,
    },
    /// The files lead to `have` and not to the transaction that was asked for: it is later, or within a file.
    NotReached {
        /// The last transaction at or before the one asked for that the files lead to.
        have: u64,
        /// What was asked for.
        target: u64,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBeginning => {
                out.write_str("no file begins at transaction 1: there is no snapshot to begin with")
            }
            Self::Missing { have, next } => {
                write!(
                    out,
                    "transaction {} is missing: the next file begins at {next}",
                    have.saturating_add(1)
                )
            }
            Self::NotReached { have, target } => {
                write!(out, "transaction {target} cannot be reached: the files lead to {have}")
            }
        }
    }
}

impl Error for Gap {}

/// The files to merge, oldest first, for the database after `target`, or after the last transaction there is.
///
/// The latest snapshot at or before the target, then again and again the file that goes furthest among those that
/// begin at or before the transaction that is due: of equal reach the one that begins earlier, then the one of the
/// higher level. Without a target any file behind a gap is an error; with one only what the target needs is looked at.
pub fn plan(names: &[LtxName], target: Option<u64>) -> Result<Vec<LtxName>, Gap> {
    let within = |name: &&LtxName| target.is_none_or(|target| name.max <= target);
    let (snapshots, mut rest): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.level >= SNAPSHOT_LEVEL);
    let mut chosen: Vec<LtxName> = Vec::new();
    chosen.extend(snapshots.iter().copied().filter(within).max_by_key(|name| (name.min, name.max)));
    let mut have = chosen.last().map_or(0, |snapshot| snapshot.max);

    rest.sort_by_key(|name| name.min);
    let mut rest = rest.into_iter().peekable();
    let mut best: Option<LtxName> = None;
    while target.is_none_or(|target| have < target) {
        while let Some(name) = rest.next_if(|name| name.min <= have.saturating_add(1)) {
            let rank = |name: &LtxName| (name.max, Reverse(name.min), name.level);
            if within(&name) && best.is_none_or(|best| rank(name) > rank(&best)) {
                best = Some(*name);
            }
        }
        let Some(next) = best.take().filter(|best| best.max > have) else { break };
        have = next.max;
        chosen.push(next);
    }

    if chosen.is_empty() {
        return Err(Gap::NoBeginning);
    }
    match (target, rest.peek()) {
        (Some(target), _) if have < target => Err(Gap::NotReached { have, target }),
        (None, Some(behind)) => Err(Gap::Missing { have, next: behind.min }),
        _ => Ok(chosen),
    }
}
