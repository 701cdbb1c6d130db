//! Takes memory for the whole process: for us, and for SQLite, which calls `malloc`.
//!
//! Mimalloc instead of the C library's, which took a ninth of the processor time of a write (by profile,
//! `docs/decisions/0017-what-a-write-costs.md`).
//! Whatever links this crate takes it from there.

use std::ffi::{c_int, c_long};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`: milliseconds before pages that were freed go back to the system.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
    #[cfg(test)]
    fn mi_option_get(option: c_int) -> c_long;
}

/// Gives pages back as soon as they are freed. Otherwise they wait for the next time that somebody takes memory,
/// which on an idle node is never: each hash of a password would leave 19 MiB behind. It costs nothing (measured).
pub fn give_back_at_once() {
    // SAFETY: sets a number that the allocator reads; it exists from before the first allocation.
    unsafe { mi_option_set(PURGE_DELAY, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_delay() {
        // SAFETY: reads a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "its default, which no other option has");
        give_back_at_once();
        assert_eq!(delay(), 0);
    }
}
