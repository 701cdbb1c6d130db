//! What the kernel says about this process.

use std::fs;

/// Bytes of memory that are resident; 0 where the kernel does not say.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

/// Open file descriptors; 0 where the kernel does not say.
pub fn open_files() -> u64 {
    // One of them is the list itself.
    fs::read_dir("/proc/self/fd").map_or(0, |list| list.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{open_files, resident_bytes};

    #[test]
    fn this_process_has_memory_and_files() {
        assert!(resident_bytes() > 1 << 20);
        let before = open_files();
        let held: Vec<_> = (0..100).map(|_| std::fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(open_files() >= before.max(50) + 50, "{before}");
        drop(held);
    }
}
