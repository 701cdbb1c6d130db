//! Wall clocks of nodes that can be set wrong, without touching the machine's.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A library to load before a node's own, and the file that says how wrong its clock is.
pub struct Skew {
    folder: TempDir,
}

impl Skew {
    /// Compiles the library.
    pub fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/skew.c");
        let library = folder.path().join("skew.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        let made = compile.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder }
    }

    /// The environment of node `node`'s process.
    pub fn environment(&self, node: usize) -> Vec<(String, String)> {
        let file = self.file(node);
        fs::write(&file, [0; 16]).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.folder.path().join("skew.so"))),
            ("TF_SKEW_FILE".to_owned(), text(&file)),
        ]
    }

    /// Sets a node's clock this many seconds ahead.
    pub fn set(&self, node: usize, seconds: i64) {
        // In place: the process has mapped this very file.
        let file = fs::OpenOptions::new().write(true).open(self.file(node)).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// How often a node was told a wrong time.
    pub fn told(&self, node: usize) -> i64 {
        let mut bytes = [0; 8];
        fs::File::open(self.file(node)).unwrap().read_exact_at(&mut bytes, 8).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn file(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", node + 1))
    }
}
