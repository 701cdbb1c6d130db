//! How much of the machine this process may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors worth having: 4,096 connections of clients, and as many files.
const DESCRIPTORS: u64 = 65_536;
/// Of a scarce limit, what everything but write connections is left with.
const OTHERS: u64 = 352;
/// A write connection has a file, its log and that log's index.
const EACH: u64 = 3;
/// 256 MiB at most.
const WRITE_CONNECTIONS_MAX: u64 = 1024;
const WRITE_CONNECTIONS_MIN: u64 = 32;

/// Takes as many descriptors as the system allows; answers how many there are.
///
/// Shells and containers begin with 1,024 for the sake of programs that use `select`, which this one does not.
fn take_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    // None is unlimited.
    let Some(current) = current else { return DESCRIPTORS };
    if current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        return wanted;
    }
    current
}

/// How many files may stay open for writing.
pub(super) fn write_connections() -> usize {
    of(take_descriptors())
}

fn of(descriptors: u64) -> usize {
    let connections =
        (descriptors.saturating_sub(OTHERS) / EACH).clamp(WRITE_CONNECTIONS_MIN, WRITE_CONNECTIONS_MAX);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn files_take_what_is_left_of_few_descriptors_and_no_more_than_they_need_of_many() {
        assert_eq!([100, 1_024, 65_536].map(of), [32, 224, 1_024]);
    }
}
