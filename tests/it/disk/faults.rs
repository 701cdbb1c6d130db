//! A disk that fails when it is told to: `shim.c`, put before libc.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::harness::await_condition;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/disk/shim.c");
/// An I/O error.
pub(super) const EIO: i32 = 5;
/// A file system that was turned read-only.
pub(super) const EROFS: i32 = 30;

/// One node's rules.
pub(super) struct Faults {
    rules: PathBuf,
    shim: PathBuf,
}

impl Faults {
    /// Compiles the shim into `root`, once; no rule yet.
    pub(super) fn new(root: &Path, name: &str) -> Self {
        let shim = root.join("shim.so");
        if !shim.exists() {
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).args([SOURCE, "-ldl", "-lpthread"]);
            assert!(cc.status().expect("cc, a C compiler").success(), "cc {SOURCE}");
        }
        Self { rules: root.join(format!("{name}.faults")), shim }
    }

    pub(super) fn put_before(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.shim).env("TF_FAULTS", &self.rules);
    }

    /// From now on: `call` on paths with `part` in them fails with `error`, `times` times (0: for ever),
    /// after `after` of them passed.
    pub(super) fn fail(&self, call: &str, part: &str, error: i32, after: u32, times: u32) {
        self.set(&format!("{call} {part} {error} {after} {times} 0\n"));
    }

    /// From now on: `call` on paths with `part` in them comes late.
    pub(super) fn delay(&self, call: &str, part: &str, delay: Duration) {
        self.set(&format!("{call} {part} 0 0 0 {}\n", delay.as_millis()));
    }

    /// The disk is sound again.
    pub(super) fn clear(&self) {
        let _ = fs::remove_file(&self.rules);
        let _ = fs::remove_file(self.hits());
    }

    /// How often a rule struck since the rules were set.
    pub(super) fn struck(&self) -> usize {
        fs::read_to_string(self.hits()).unwrap_or_default().lines().count()
    }

    /// Waits until a rule has struck that often.
    pub(super) fn await_struck(&self, times: usize) {
        await_condition("the disk to fail", Duration::from_secs(60), || self.struck() >= times);
    }

    fn set(&self, text: &str) {
        self.clear();
        let fresh = self.rules.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, &self.rules).unwrap();
    }

    fn hits(&self) -> PathBuf {
        let mut name = self.rules.clone().into_os_string();
        name.push(".hits");
        name.into()
    }
}
