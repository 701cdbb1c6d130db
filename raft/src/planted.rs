//! Bugs that a test asks for, to see whether it finds them: the variable `TF_TEST_BUG` names a file, and what
//! stands in it is what is wrong from then on. A release build has none of this; `./check` looks.

/// Whether this process is to have the bug now.
#[cfg(debug_assertions)]
pub fn planted(bug: &str) -> bool {
    let asked = std::env::var_os("TF_TEST_BUG").map(std::fs::read_to_string);
    asked.is_some_and(|asked| asked.is_ok_and(|asked| asked == bug))
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
pub fn planted(_bug: &str) -> bool {
    false
}
