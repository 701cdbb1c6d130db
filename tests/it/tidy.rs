//! The house rules as tests. Each prints what is wrong as `file:line: what; why`.

mod arrows;
mod asvs;
mod lists;
mod sizes;
mod tokens;
mod tree;
mod words;

use std::fmt::Write;

/// What is wrong, where, and why it is.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &str, line: usize, what: impl AsRef<str>, why: &str) {
        self.0.push(format!("{file}:{line}: {}; {why}", what.as_ref()));
    }

    /// Fails the test when something was found.
    fn settle(mut self) {
        self.0.sort();
        let text = self.0.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
        assert!(self.0.is_empty(), "\n{text}{} findings", self.0.len());
    }
}
