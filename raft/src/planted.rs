//! Bugs that a test asks for, to see whether it finds them, and other things that would not happen by themselves: the
//! variable `TF_TEST_BUG` names a file, and each line of it is one from then on. A release build has none of this;
//! `./check` looks.

/// Whether this process is to have the bug now.
#[cfg(debug_assertions)]
pub fn planted(bug: &str) -> bool {
    lines().any(|line| line == bug)
}

/// What stands behind `bug` in its line, if this process is to have it now.
#[cfg(debug_assertions)]
pub fn planted_with(bug: &str) -> Option<String> {
    lines().find_map(|line| line.strip_prefix(bug).map(str::to_owned))
}

#[cfg(debug_assertions)]
fn lines() -> impl Iterator<Item = String> {
    let asked = std::env::var_os("TF_TEST_BUG").and_then(|file| std::fs::read_to_string(file).ok());
    let lines: Vec<String> = asked.unwrap_or_default().lines().map(str::to_owned).collect();
    lines.into_iter()
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
pub fn planted(_bug: &str) -> bool {
    false
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
pub fn planted_with(_bug: &str) -> Option<String> {
    None
}
