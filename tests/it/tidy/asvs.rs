//! `docs/asvs.md` has every requirement once, and what it leans on is there.

use std::{collections::BTreeMap, path::Path};

use super::{
    Findings,
    tree::{File, all},
};

const PAGE: &str = "docs/asvs.md";

/// What it refers to for what is a matter of documents; it leans on files, too.
const RULES: &str = "docs/security.md";

/// What a requirement can come to.
const VERDICTS: &[&str] = &["met", "NOT MET", "not applicable"];

/// Folders whose paths a row can lean on.
const ROOTS: &[&str] = &["src/", "tests/", "docs/", "raft/", "sqlite/", "packaging/", "systemd/", "fuzz/"];

/// Words of a test's name, at least: it is a sentence.
const TEST_WORDS_MIN: usize = 4;

/// OWASP ASVS 5.0.0, chapters V6 to V10 and V16, levels 1 and 2: each section with the levels of its requirements in
/// order.
const SECTIONS: &[(&str, &str)] = &[
    ("V6.1", "1 2 2"),
    ("V6.2", "1 1 1 1 1 1 1 1 2 2 2 2"),
    ("V6.3", "1 1 2 2"),
    ("V6.4", "1 1 2 2"),
    ("V6.5", "2 2 2 2 2"),
    ("V6.6", "2 2 2"),
    ("V6.8", "2 2 2 2"),
    ("V7.1", "2 2 2"),
    ("V7.2", "1 1 1 1"),
    ("V7.3", "2 2"),
    ("V7.4", "1 1 2 2 2"),
    ("V7.5", "2 2"),
    ("V7.6", "2 2"),
    ("V8.1", "1 2"),
    ("V8.2", "1 1 2"),
    ("V8.3", "1"),
    ("V8.4", "2"),
    ("V9.1", "1 1 1"),
    ("V9.2", "1 2 2 2"),
    ("V10.1", "2 2"),
    ("V10.2", "2 2"),
    ("V10.3", "2 2 2 2"),
    ("V10.4", "1 1 1 1 1 2 2 2 2 2 2"),
    ("V10.5", "2 2 2 2 2"),
    ("V10.6", "2 2"),
    ("V10.7", "2 2 2"),
    ("V16.1", "2"),
    ("V16.2", "2 2 2 2 2"),
    ("V16.3", "2 2 2 2"),
    ("V16.4", "2 2 2"),
    ("V16.5", "2 2 2"),
];

/// Every requirement's id with its level.
fn required() -> BTreeMap<String, String> {
    let mut required = BTreeMap::new();
    for (section, levels) in SECTIONS {
        for (at, level) in levels.split(' ').enumerate() {
            required.insert(format!("{section}.{}", at + 1), level.to_owned());
        }
    }
    required
}

/// A row of a chapter's table.
struct Row<'a> {
    line: usize,
    id: &'a str,
    level: &'a str,
    verdict: &'a str,
    what: &'a str,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (line, text) in page.lines().enumerate() {
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        if let ["", id, level, verdict, what, ""] = cells[..]
            && id.starts_with('V')
        {
            rows.push(Row { line: line + 1, id, level, verdict, what });
        }
    }
    rows
}

/// What stands between backticks.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_path(cited: &str) -> bool {
    ROOTS.iter().any(|root| cited.starts_with(root))
}

fn is_test(cited: &str) -> bool {
    cited.split('_').filter(|word| !word.is_empty()).count() >= TEST_WORDS_MIN
        && cited.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

fn page<'a>(files: &'a [File], path: &str) -> &'a str {
    let found = files.iter().find(|file| file.path == path);
    &found.unwrap_or_else(|| panic!("{path} is missing")).text
}

#[test]
fn every_requirement_has_one_row_with_its_level_and_a_verdict() {
    let (files, required) = (all(), required());
    assert_eq!(required.len(), 112);
    let mut findings = Findings::default();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows(page(&files, PAGE)) {
        *times.entry(row.id).or_default() += 1;
        match required.get(row.id) {
            None => findings.add(PAGE, row.line, row.id, "it is none of the 112 requirements"),
            Some(level) if level != row.level => {
                findings.add(PAGE, row.line, row.id, "the standard gives it another level");
            }
            Some(_) => {}
        }
        if !VERDICTS.contains(&row.verdict) {
            findings.add(PAGE, row.line, row.verdict, "a requirement is met, NOT MET or not applicable");
        }
        if row.verdict == "met" && !cited(row.what).any(is_path) {
            findings.add(PAGE, row.line, row.id, "what is met is met somewhere: name the file");
        }
    }
    for id in required.keys().filter(|id| times.get(id.as_str()) != Some(&1)) {
        findings.add(PAGE, 1, id, "each requirement has exactly one row");
    }
    findings.settle();
}

#[test]
fn the_counts_are_those_of_the_rows() {
    let files = all();
    let page = page(&files, PAGE);
    for verdict in VERDICTS {
        let count = rows(page).iter().filter(|row| row.verdict == *verdict).count();
        let line = format!("| {verdict} | {count} |");
        assert!(page.lines().any(|found| found == line), "{PAGE} lacks the line {line}");
    }
}

#[test]
fn what_the_pages_lean_on_is_there() {
    let files = all();
    let mut findings = Findings::default();
    for path in [PAGE, RULES] {
        for (at, line) in page(&files, path).lines().enumerate() {
            for (what, why) in missing(&files, line) {
                findings.add(path, at + 1, what, why);
            }
        }
    }
    findings.settle();
}

/// Files that a line names and that are not there, and tests that are not in the file named before them.
fn missing<'a>(files: &[File], line: &'a str) -> Vec<(&'a str, &'static str)> {
    let mut missing = Vec::new();
    let mut below = "";
    for cited in cited(line) {
        if is_path(cited) {
            below = cited;
            if !Path::new(env!("CARGO_MANIFEST_DIR")).join(cited).exists() {
                missing.push((cited, "there is no such file"));
            }
        } else if is_test(cited) {
            let definition = format!("fn {cited}(");
            let file = files.iter().find(|file| file.path == below);
            if !file.is_some_and(|file| file.text.contains(&definition)) {
                missing.push((cited, "the file named before it has no such test"));
            }
        }
    }
    missing
}
