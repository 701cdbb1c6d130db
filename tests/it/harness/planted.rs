//! What a test asks of a running node: see `raft/src/planted.rs`.

use std::fs;

use tempfile::TempDir;

/// The file in which it stands; each line of it is one thing.
pub struct Plant(TempDir);

impl Plant {
    /// Nothing is asked for yet.
    pub fn new() -> Self {
        let plant = Self(tempfile::tempdir().unwrap());
        plant.set(&[]);
        plant
    }

    /// What the node finds it by.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("TF_TEST_BUG".to_owned(), self.path().to_str().unwrap().to_owned())]
    }

    /// From now on it is this.
    pub fn set(&self, lines: &[&str]) {
        let half = self.0.path().join("half");
        fs::write(&half, lines.join("\n")).unwrap();
        fs::rename(half, self.path()).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("asked")
    }
}
