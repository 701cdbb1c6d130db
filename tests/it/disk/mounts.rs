//! Small file systems in memory.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system in memory; unmounted when dropped.
pub(super) struct Tmpfs {
    folder: PathBuf,
    mebibytes: u32,
}

impl Tmpfs {
    /// `None` where mounting is not permitted: a failure in CI, one loud line elsewhere.
    pub(super) fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        let size = format!("size={mebibytes}m,mode=0700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        match output {
            Ok(output) if output.status.success() => Some(Self { folder: folder.to_owned(), mebibytes }),
            other => {
                let why = other.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
                assert!(std::env::var_os("CI").is_none(), "a tmpfs cannot be mounted: {why:?}");
                println!("LEFT OUT: no tmpfs can be mounted here ({why:?}), so full disks are not tried");
                None
            }
        }
    }

    /// Takes all the room there is.
    pub(super) fn fill(&self) {
        let mut ballast = File::create(self.folder.join("ballast")).unwrap();
        for piece in [1 << 20, 4096] {
            while ballast.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    /// Makes it twice as large: room again.
    pub(super) fn enlarge(&mut self) {
        self.mebibytes *= 2;
        self.remount(&format!("size={}m", self.mebibytes));
    }

    /// As an administrator does it; the file system must not be in use.
    pub(super) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.folder).status().unwrap();
        assert!(done.success(), "mount -o {options}");
    }

    /// Takes the ballast away.
    pub(super) fn unfill(&self) {
        fs::remove_file(self.folder.join("ballast")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a process in it for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
