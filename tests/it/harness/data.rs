//! Third-party data, which stays out of the tree.

use std::{fs, path::PathBuf};

/// A file of the shared data folder. Without it: a failure in CI, one loud line elsewhere.
pub fn third_party(path: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("TF_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = folder.join(path);
    match fs::read(&file) {
        Ok(bytes) => Some(bytes),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{}: {error}", file.display()),
        Err(_) => {
            println!("LEFT OUT: {} is not here, so what it would have proven is not proven", file.display());
            None
        }
    }
}
