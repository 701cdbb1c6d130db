//! The files of the project, as they lie on disk.

use std::{fs, path::Path};

use super::tokens::{Token, read};

/// One file with its path from the root of the project.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// What the compiler sees: no comments, no text of strings.
    pub(super) fn tokens(&self) -> Vec<Token> {
        read(&self.text)
    }

    /// The path's parts.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.path.split('/').collect()
    }

    pub(super) fn has_extension(&self, name: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == name)
    }

    /// Tests look at the product from above: arrows do not bind them.
    pub(super) fn is_test(&self) -> bool {
        let parts = self.parts();
        parts.contains(&"tests") || parts.last() == Some(&"tests.rs")
    }
}

/// What git does not keep.
const SKIPPED: &[&str] = &[".git", "target", "data", "fuzz/target", "fuzz/corpus", "fuzz/artifacts"];

/// Every text file of the project.
pub(super) fn all() -> Vec<File> {
    let mut files = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

/// Every Rust file.
pub(super) fn rust() -> Vec<File> {
    const ROOTS: [&str; 5] = ["src", "raft", "sqlite", "tests", "benches"];
    let ours = |file: &File| file.has_extension("rs") && ROOTS.contains(&file.parts()[0]);
    all().into_iter().filter(ours).collect()
}

/// Every Rust file of the root crate.
pub(super) fn product() -> Vec<File> {
    rust().into_iter().filter(|file| file.path.starts_with("src/")).collect()
}

/// Names in a folder of the project, sorted.
pub(super) fn names(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_log(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "log")
}

fn walk(root: &Path, below: &str, files: &mut Vec<File>) {
    for name in names(below) {
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let full = root.join(&path);
        if full.is_dir() {
            if !SKIPPED.contains(&path.as_str()) {
                walk(root, &path, files);
            }
        } else if let Some(text) = fs::read_to_string(&full).ok().filter(|_| !is_log(&name)) {
            files.push(File { path, text });
        }
    }
}
