//! How much room the disk under the files has.

use super::files::Store;
use crate::kernel::Fault;

/// Room on the disk that holds the data, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What this process may still write.
    pub free: u64,
    /// The whole disk.
    pub total: u64,
}

/// Below this the node is about to stop: a full disk is a fault.
const FREE_MIN: u64 = 1 << 30;
/// The same as a share of the disk.
const FREE_PERCENT_MIN: u64 = 10;

impl Room {
    /// Whether an operator should make room: less than 10 %, or less than 1 GiB, is left.
    pub fn is_low(self) -> bool {
        self.free < FREE_MIN || self.free.saturating_mul(100) < self.total.saturating_mul(FREE_PERCENT_MIN)
    }
}

impl Store {
    /// Asks the file system.
    pub fn room(&self) -> Result<Room, Fault> {
        let answer = rustix::fs::statvfs(&self.root)
            .map_err(|error| Fault::new(format!("ask how full {} is", self.root.display()), error))?;
        let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
        Ok(Room { free: bytes(answer.f_bavail), total: bytes(answer.f_blocks) })
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn a_tenth_and_a_gibibyte_are_the_least_that_should_be_free() {
        let gib = |free: u64, total: u64| Room { free: free << 30, total: total << 30 }.is_low();
        assert_eq!(
            [gib(11, 100), gib(10, 100), gib(9, 100), gib(1, 5), gib(0, 5)],
            [false, false, true, false, true]
        );
    }
}
