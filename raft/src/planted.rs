//! Bugs that a test asks for by the variable `TF_TEST_BUG`, to see whether it finds them. A release build has
//! none of this; `./check` looks.

/// Whether this process is to have the bug.
#[cfg(debug_assertions)]
pub fn planted(bug: &str) -> bool {
    use std::sync::OnceLock;
    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    ASKED.get_or_init(|| std::env::var("TF_TEST_BUG").ok()).as_deref() == Some(bug)
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
pub fn planted(_bug: &str) -> bool {
    false
}
