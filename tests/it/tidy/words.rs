//! Words that must not stand in the tree, and pages that must agree with it.

use std::{collections::BTreeSet, path::Path};

use super::{
    Findings,
    tokens::text,
    tree::{all, names, rust},
};

/// Names that say nothing: what is it that it manages, whom does it help?
const EMPTY_NAMES: &[&str] = &["manager", "managers", "helper", "helpers", "util", "utils"];

/// Unfinished work. Taken apart so that this file does not name what it forbids.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED_MACROS: &[&str] = &["unimplemented", "todo"];

/// Traces of the machine or of the way the work was done: (text, reason).
const TRACES: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine; the tree works anywhere"),
    (concat!("/ro", "ot/"), "a path of one machine; the tree works anywhere"),
    (concat!("crates", ".io"), "a registry host; only Cargo.lock says where crates come from"),
    (concat!("session ", "handout"), "how the work was done is not part of it"),
];

#[test]
fn nothing_is_left_for_later() {
    let mut findings = Findings::default();
    for file in all().iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (at, line) in file.text.lines().enumerate() {
            let words: Vec<&str> = line.split(|letter: char| !letter.is_alphanumeric()).collect();
            for word in UNFINISHED.iter().filter(|word| words.contains(word)) {
                findings.add(&file.path, at + 1, *word, "main is finished work; write an issue");
            }
        }
    }
    for file in rust() {
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            if UNFINISHED_MACROS.contains(&text(&tokens, at)) && text(&tokens, at + 1) == "!" {
                findings.add(&file.path, tokens[at].line, text(&tokens, at), "main is finished work");
            }
        }
    }
    findings.settle();
}

#[test]
fn no_file_and_no_type_is_named_after_nothing() {
    const WHY: &str = "name what it does, not that it does something";
    let mut findings = Findings::default();
    for file in rust() {
        let parts = file.parts();
        if parts.iter().any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"))) {
            findings.add(&file.path, 1, "the file's name", WHY);
        }
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            let declares = ["struct", "enum", "trait", "type", "union", "mod"].contains(&text(&tokens, at));
            let name = text(&tokens, at + 1);
            if declares && words_of(name).iter().any(|word| EMPTY_NAMES.contains(&word.as_str())) {
                findings.add(&file.path, tokens[at].line, name, WHY);
            }
        }
    }
    findings.settle();
}

#[test]
fn what_runs_in_the_background_of_a_node_is_watched() {
    // A job there is answered for by the command that started the processes.
    const WATCHED: &[&str] = &["src/cluster/tasks.rs", "src/cli/demo/mod.rs"];
    let mut findings = Findings::default();
    for file in rust() {
        if !file.path.starts_with("src/") || WATCHED.contains(&file.path.as_str()) {
            continue;
        }
        for token in file.tokens().iter().filter(|token| token.text == "JoinSet") {
            findings.add(
                &file.path,
                token.line,
                "JoinSet",
                "a panic in it is seen by nobody: use cluster::Tasks",
            );
        }
    }
    findings.settle();
}

/// `QuotaManager` and `quota_manager` are both quota, manager.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(last) = words.last_mut().filter(|_| letter != '_') {
            last.extend(letter.to_lowercase());
        }
    }
    words
}

#[test]
fn the_tree_tells_nothing_of_the_machine_it_was_made_on() {
    let mut findings = Findings::default();
    for file in all().iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (at, line) in file.text.lines().enumerate() {
            for (trace, why) in TRACES.iter().filter(|(trace, _)| line.contains(trace)) {
                findings.add(&file.path, at + 1, format!("{trace:?}"), why);
            }
        }
    }
    findings.settle();
}

#[test]
fn crates_come_from_the_default_registry_alone() {
    const DEFAULT: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");
    let mut findings = Findings::default();
    for file in all().iter().filter(|file| file.path.ends_with("Cargo.lock")) {
        for (at, line) in file.text.lines().enumerate() {
            let source = line.strip_prefix("source = ").map(|source| source.trim_matches('"'));
            if let Some(source) = source.filter(|source| *source != DEFAULT) {
                findings.add(&file.path, at + 1, source, "a build on any machine must find the same crates");
            }
        }
    }
    findings.settle();
}

#[test]
fn the_readme_maps_the_code_as_it_lies() {
    let files = all();
    let readme = files.iter().find(|file| file.path == "README.md");
    let readme = readme.expect("README.md is missing: it is to say what this is and to map the code of src");
    let map = section(&readme.text, "map of the code");
    let map = map.expect("README.md has no heading that names the map of the code");
    let listed: BTreeSet<String> =
        map.split(|letter: char| !is_path(letter)).filter_map(entry_of_src).collect();
    let present: BTreeSet<String> = names("src").into_iter().collect();
    let missing: Vec<_> = present.difference(&listed).collect();
    assert!(missing.is_empty(), "README.md: the map of the code leaves out {missing:?} of src");
    let elsewhere: BTreeSet<String> = [names(""), names("src/features")].concat().into_iter().collect();
    let invented: Vec<_> = listed.difference(&present).filter(|name| !elsewhere.contains(*name)).collect();
    assert!(
        invented.is_empty(),
        "README.md: the map of the code names {invented:?}, which src does not hold"
    );
}

fn is_path(letter: char) -> bool {
    letter.is_alphanumeric() || "/_.-".contains(letter)
}

/// `kernel/`, `src/kernel/…` and `main.rs` are entries of src; other words are prose.
fn entry_of_src(word: &str) -> Option<String> {
    let inner = word.strip_prefix("src/").unwrap_or(word);
    let first = inner.split('/').next().filter(|first| !first.is_empty() && *first != "src")?;
    let is_entry = inner.contains('/') || inner.len() < word.len() || is_source(word);
    is_entry.then(|| first.to_owned())
}

fn is_source(word: &str) -> bool {
    !word.contains('/') && Path::new(word).extension().is_some_and(|extension| extension == "rs")
}

/// The text below the heading that contains `title`, up to the next heading of the same height.
fn section<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let heading = text.lines().find(|line| line.starts_with('#') && line.to_lowercase().contains(title))?;
    let from = text.find(heading)? + heading.len();
    let marks = heading.chars().take_while(|mark| *mark == '#').count();
    let next = format!("\n{} ", "#".repeat(marks));
    let rest = &text[from..];
    Some(rest.find(&next).map_or(rest, |end| &rest[..end]))
}
