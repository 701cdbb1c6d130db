//! A bug on purpose, for the test that needs a node whose apply differs. Builds without debug assertions have none.

use std::path::{Path, PathBuf};

use crate::kernel::FileId;

/// While this file exists, every entry applied to an organization's file changes a row that it should not.
pub(super) fn switch(root: &Path, file: FileId) -> Option<PathBuf> {
    let planted = cfg!(debug_assertions) && !file.is_system();
    let wanted = planted && std::env::var_os("TF_TEST_BUG").is_some_and(|bug| bug == "apply_differs");
    wanted.then(|| root.join("apply-differs"))
}

/// What it does.
pub(super) const DIFFER: &str = "UPDATE quotas_usage SET reported = reported + 1";
